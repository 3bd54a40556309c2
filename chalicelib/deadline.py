"""A limit by the wall clock: a timeout of a socket begins anew with each byte that drips in."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

Answer = TypeVar("Answer")


def within(seconds: float, act: Callable[[], Answer]) -> Answer:
    """What ``act`` returns or raises. Raises ``TimeoutError`` once the time is up; its thread is left."""
    done: SimpleQueue[tuple[Answer | None, Exception | None]] = SimpleQueue()

    def run() -> None:
        try:
            done.put((act(), None))
        except Exception as error:
            done.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        answer, error = done.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"not within {seconds} s") from None
    if error:
        raise error
    return answer  # type: ignore[return-value]

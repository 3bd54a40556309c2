"""What went wrong in a handler, for who reads logs: always where, what it said only where that is wanted.

An exception's message may hold what a person wrote; its class and the lines that led to it do not.
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DEEPEST = 5  # frames that are named, the last ones
ROOT = Path(__file__).resolve().parents[1]


def frames(error: BaseException) -> list[str]:
    """The lines that led to it, the last one last: ``file:line in function``."""
    found = traceback.extract_tb(error.__traceback__)
    outside = [each for each in found if Path(each.filename).name != "outbox.py"]
    return [f"{_shown(each.filename)}:{each.lineno} in {each.name}" for each in outside[-DEEPEST:]]


def _shown(filename: str) -> str:
    path = Path(filename)
    if path.is_relative_to(ROOT):
        return str(path.relative_to(ROOT))
    return "/".join(path.parts[-2:])


@dataclass(frozen=True, slots=True)
class Explanation:
    """``messages``: the exception's own text is logged too. ``show`` takes a whole traceback, where there is
    one person to see it.
    """

    messages: bool = False
    show: Callable[[str], object] | None = None

    def of(self, error: BaseException) -> dict[str, object]:
        """The fields of a log line."""
        if self.show:
            self.show("".join(traceback.format_exception(error)))
        said = {"text": str(error)} if self.messages else {}
        return {"error": type(error).__name__, "at": frames(error), **said}

    def short(self, error: BaseException) -> str:
        """In a few words, to be kept: its class and the last line."""
        return ", ".join([type(error).__name__, *frames(error)[-1:]])


PLACES = Explanation()  # where it went wrong, and no word of what was said

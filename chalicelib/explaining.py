"""What went wrong in a handler, for who reads logs: always where, what it said only where that is wanted.

An exception's message may hold what a person wrote; its class and the lines that led to it do not.
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DEEPEST = 5  # frames that are named, the last ones
LONGEST = 200  # characters of a message that is kept
ROOT = Path(__file__).resolve().parents[1]
CODE = ROOT / "chalicelib"


def frames(error: BaseException) -> list[str]:
    """The lines that led to it, the last one last: ``file:line in function``."""
    return [_line(each) for each in _found(error)[-DEEPEST:]]


def _found(error: BaseException) -> list[traceback.FrameSummary]:
    found = traceback.extract_tb(error.__traceback__)
    return [each for each in found if Path(each.filename).name != "outbox.py"]


def _line(frame: traceback.FrameSummary) -> str:
    return f"{_shown(frame.filename)}:{frame.lineno} in {frame.name}"


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
        """In a few words, to be kept: its class, and the last line that is no library's."""
        found = _found(error)
        own = [each for each in found if Path(each.filename).is_relative_to(CODE)]
        said = f" ({str(error)[:LONGEST]})" if self.messages else ""
        return ", ".join([type(error).__name__ + said, *(_line(each) for each in (own or found)[-1:])])


PLACES = Explanation()  # where it went wrong, and no word of what was said

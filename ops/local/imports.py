"""``python -m ops.local.imports``: whether the app and the user's handlers can be imported; if not, why.

Prints one line, ``file:line: error``, and exits with 1.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("app", os.environ.get("DAYBOOK_HANDLERS", "chalicelib.handlers"))


def fault(modules: Iterable[str] = MODULES, root: Path = ROOT) -> str | None:
    """Where importing fails: the last line of this project that was reached, the user's own before others."""
    try:
        for name in modules:
            importlib.import_module(name)
    except SyntaxError as error:
        return _line(root, error.filename or "?", error.lineno, error)
    except BaseException as error:  # also one that ends Python
        own = [each for each in traceback.extract_tb(error.__traceback__) if _is_own(root, each.filename)]
        users = [each for each in own if Path(each.filename).name == "handlers.py"]
        last = (users or own)[-1]
        return _line(root, last.filename, last.lineno, error)
    return None


def _is_own(root: Path, filename: str) -> bool:
    return Path(filename).is_relative_to(root) and "site-packages" not in filename


def _line(root: Path, filename: str, number: int | None, error: BaseException) -> str:
    path = Path(filename)
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    reason = error.msg if isinstance(error, SyntaxError) else error
    return f"{shown}:{number}: {type(error).__name__}: {reason}"


if __name__ == "__main__":
    found = fault()
    if found:
        sys.stderr.write(f"{found}\n")
        sys.exit(1)

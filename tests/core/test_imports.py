"""What ``make run`` says of code that was saved and cannot be imported."""

import sys
from pathlib import Path

import pytest

from ops.local import imports


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def broken(:", "handlers.py:1: SyntaxError: invalid syntax"),
        ("import nowhere_at_all", "handlers.py:1: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("x = 1\nint('x')", "handlers.py:2: ValueError: invalid literal for int() with base 10: 'x'"),
        ("raise SystemExit(3)", "handlers.py:1: SystemExit: 3"),
        ("fine = True", None),
    ],
)
def test_the_line_at_fault_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str | None
) -> None:
    """File, line and error, in one line; nothing where all is well."""
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "handlers.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("shop", "shop.handlers"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = imports.fault(("shop.handlers",), tmp_path)
    assert found == (None if said is None else f"shop/{said}")

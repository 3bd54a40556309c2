"""The stages of ``.chalice/config.json``, and one more like another: its configuration and its policies."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from chalicelib.settings import STAGE_LOCAL
from ops.package import Failed

NAME = re.compile(r"[a-z][a-z0-9-]{0,20}")  # as infra/resources.yaml has it


def deployable(project: Path) -> dict[str, dict[str, Any]]:
    """The stages that are deployed: all but ``local``. Raises ``OSError`` outside of the project."""
    return {name: stage for name, stage in config(project)["stages"].items() if name != STAGE_LOCAL}


def config(project: Path) -> dict[str, Any]:
    """All of ``.chalice/config.json``."""
    return _read(_path(project))


def add(project: Path, name: str, like: str) -> list[Path]:
    """Write a stage that is what ``like`` is, under its own names; the files written. Raises ``Failed``."""
    if not NAME.fullmatch(name) or name == STAGE_LOCAL:
        raise Failed(f"{name} is no name of a stage: up to 21 of a-z, 0-9 and -, a letter first")
    changed = config(project)
    if name in changed["stages"]:
        raise Failed(f"there is a stage {name} already")
    for other in changed["stages"]:
        _check_apart(name, other, changed["stages"][like]["lambda_functions"])
    changed["stages"][name] = _renamed(changed["stages"][like], like, name)
    written = {_path(project): changed}
    for function in changed["stages"][like]["lambda_functions"].values():
        policy = project / ".chalice" / function["iam_policy_file"]
        written[policy.with_name(_renamed(policy.name, like, name))] = _renamed(_read(policy), like, name)
    for path in set(written) - {_path(project)}:
        if path.exists():
            raise Failed(f"{path.relative_to(project)} is there already: remove it first")
    for path, content in written.items():
        path.write_text(json.dumps(content, indent=2) + "\n")
    return list(written)


def _check_apart(name: str, other: str, functions: Iterable[str]) -> None:
    """Raises ``Failed`` where a function of one stage would be called as the other one's first is."""
    for function in functions:
        if name == f"{other}-{function}" or other == f"{name}-{function}":
            raise Failed(f"{name} is no name beside {other}: their functions would have one name")


def _path(project: Path) -> Path:
    return project / ".chalice" / "config.json"


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _renamed(value: Any, before: str, after: str) -> Any:
    """With the stage's name replaced where it is a whole text, or part of a name after ``-`` or ``/``."""
    stage = re.escape(before)
    word = rf'(?<="){stage}(?=")|(?:(?<=-)|(?<=[^/]/)){stage}(?![A-Za-z0-9_])'
    return json.loads(re.sub(word, after, json.dumps(value)))

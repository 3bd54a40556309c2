"""The stages of ``.chalice/config.json``, and one more like another: its configuration and its policies."""

import json
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
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
    return _write(written)


OWN = "Own"  # how the Sids of a user's statements begin
OF_RELEASES = ("dev", "prod")  # the stages that Daybook's releases have


def lacking(project: Path, name: str) -> list[str]:
    """The policies of an added stage that are not what those of a stage of Daybook's own are.

    It is in no release: what one adds is brought to it by ``update``.
    """
    like = next((each for each in OF_RELEASES if each in config(project)["stages"]), None)
    if like is None or name in OF_RELEASES:
        return []
    _, written = _alike(project, name, like)
    return [
        f"{path.name}: not what {like}'s is"
        for path, content in written.items()
        if not path.exists() or _daybooks(_read(path)) != _daybooks(content)
    ]


def update(project: Path, name: str, like: str) -> list[Path]:
    """Give a stage the functions and policies of another; what is its own stays. The files written."""
    changed, written = _alike(project, name, like)
    for function in changed["stages"][name]["lambda_functions"].values():
        path = project / ".chalice" / function["iam_policy_file"]
        own = [each for each in _read(path)["Statement"] if _is_own(each)] if path.exists() else []
        written[path]["Statement"] = [*_daybooks(written[path])["Statement"], *own]
    written[_path(project)] = changed
    return _write(
        {path: content for path, content in written.items() if not path.exists() or _read(path) != content}
    )


def granted(project: Path, name: str, function: str, resource: str) -> set[str]:
    """The actions that a function's policy names for a resource; one may stand for several (``sqs:*``)."""
    own = config(project)["stages"].get(name, {}).get("lambda_functions", {}).get(function, {})
    policy = project / ".chalice" / own.get("iam_policy_file", f"policy-{name}-{function}.json")
    found: set[str] = set()
    for statement in _read(policy)["Statement"] if policy.exists() else ():
        resources, actions = _listed(statement["Resource"]), _listed(statement["Action"])
        if statement["Effect"] == "Allow" and any(fnmatchcase(resource, each) for each in resources):
            found.update(actions)
    return found


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _alike(project: Path, name: str, like: str) -> tuple[dict[str, Any], dict[Path, dict[str, Any]]]:
    """The configuration with the stage's functions as another has them, and their policies by their files."""
    changed = config(project)
    own = changed["stages"][name]["lambda_functions"]
    written = {}
    for function, theirs in changed["stages"][like]["lambda_functions"].items():
        mine = own.setdefault(function, _renamed(theirs, like, name))
        policy = project / ".chalice" / theirs["iam_policy_file"]
        written[policy.with_name(mine["iam_policy_file"])] = _renamed(_read(policy), like, name)
    return changed, written


def _daybooks(policy: dict[str, Any]) -> dict[str, Any]:
    """A policy without the user's statements."""
    return {**policy, "Statement": [each for each in policy["Statement"] if not _is_own(each)]}


def _is_own(statement: dict[str, Any]) -> bool:
    return str(statement.get("Sid", "")).startswith(OWN)


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


def _write(written: dict[Path, dict[str, Any]]) -> list[Path]:
    for path, content in written.items():
        path.write_text(json.dumps(content, indent=2) + "\n")
    return list(written)


def _renamed(value: Any, before: str, after: str) -> Any:
    """With the stage's name replaced where it is a whole text, or part of a name after ``-`` or ``/``."""
    stage = re.escape(before)
    word = rf'(?<="){stage}(?=")|(?:(?<=-)|(?<=[^/]/)){stage}(?![A-Za-z0-9_])'
    return json.loads(re.sub(word, after, json.dumps(value)))

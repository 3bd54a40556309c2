"""The package: one CloudFormation template and one zip, made by Chalice, with what it cannot know put right.

Lambda cannot write compiled modules next to the packaged ones, so that every cold start would compile
them anew: they are compiled here, by the Python that the function will run on, but for those that no
webhook needs.
Chalice packages all of botocore, whose descriptions of all of AWS are three quarters of the zip; Daybook
calls AWS without them (``chalicelib/aws.py``). They are left out, unless ``requirements.txt`` names boto3,
which needs them: then a handler uses it.
"""

import ast
import json
import marshal
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.abc import InspectLoader
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from chalice.package import TemplateDeepMerger, YAMLTemplateSerializer

REGION = "us-east-1"  # where none is set: the template is the same for every region
TEMPLATES = ("infra/resources.yaml", "infra/packaged.yaml")
LOCKED = Path(__file__).parent / "locks" / "run.txt"
DATA = "botocore/data/"
DONE = b"daybook"  # the comment of a zip that is slim already
SELDOM = ("stripe/", "aws_xray_sdk/", "requests/", "charset_normalizer/", "idna/")

UNCHECKED = (1).to_bytes(4, "little")  # the flags of a module that is known by its source's hash
source_to_code = InspectLoader.source_to_code

RUNTIME = f"{sys.version_info.major}.{sys.version_info.minor}"  # Chalice takes the Python that runs it

Say = Callable[[str], object]


class Failed(Exception):
    """The message says what failed and what to do."""


def chalice(project: Path, environ: Mapping[str, str], *arguments: str) -> None:
    """Run a Chalice command on the project, its output shown as it comes. Raises ``Failed``."""
    command = str(Path(sys.executable).with_name("chalice"))
    region = {} if "AWS_DEFAULT_REGION" in environ else {"AWS_DEFAULT_REGION": REGION}
    for cache in (project / "chalicelib").rglob("__pycache__"):
        shutil.rmtree(cache)  # Chalice would package it, and know the package by it
    quiet = {"PYTHONDONTWRITEBYTECODE": "1"}
    with NamedTemporaryFile("w", suffix=".txt") as hashes:
        hashes.write("\n".join(hashed(project)))
        hashes.flush()
        constraint = {"PIP_CONSTRAINT": " ".join(filter(None, [environ.get("PIP_CONSTRAINT"), hashes.name]))}
        done = subprocess.run(  # noqa: S603 - our own command
            [command, "--project-dir", str(project), *arguments],
            env={**environ, **region, **quiet, **constraint},
            check=False,
        )
    if done.returncode:
        raise Failed(f"chalice {arguments[0]} failed; its lines above say why. Run the same command again.")


def hashed(project: Path) -> list[str]:
    """All that is locked, with its hashes, as constraints: pip takes no other content then.

    None, where a line of ``requirements.txt`` is not locked: pip checks the hashes of all or of none, what
    these need in turn among them. ``make lock`` locks it.
    """
    locked = {
        _normal(entry.split()[0]): entry
        for entry in re.findall(r"^[^\s#].*(?:\n .*)*", LOCKED.read_text(), re.MULTILINE)
    }
    lines = (project / "requirements.txt").read_text().splitlines()
    required = {_normal(line) for line in lines if line and not line.startswith("#")}
    # no constraint may name extras
    entries = [entry for entry in locked.values() if "[" not in entry.split()[0]]
    return entries if required <= locked.keys() else []


def _normal(requirement: str) -> str:
    return requirement.strip().lower().replace("_", "-")


def package(project: Path, stage: str, out: Path, environ: Mapping[str, str], say: Say) -> None:
    """Leave ``sam.json`` and ``deployment.zip`` in ``out``: one stack with all of a stage."""
    check_imports(project)
    out.mkdir(parents=True, exist_ok=True)
    merge = out / "merge.json"
    merge.write_text(json.dumps(merged(project, stage), indent=2))
    chalice(project, environ, "package", "--stage", stage, "--merge-template", str(merge), str(out))
    merge.unlink()
    slim(out / "deployment.zip", project)
    for line in report(out / "deployment.zip"):
        say(line)
    say(f"its functions run on Python {RUNTIME}: the one that packaged it")
    say(f"the template is {out / 'sam.json'}")


def merged(project: Path, stage: str) -> dict[str, Any]:
    """Both of our templates as one, for that stage."""
    template: dict[str, Any] = {}
    for name in TEMPLATES:
        text = (project / name).read_text()
        template = TemplateDeepMerger().merge(YAMLTemplateSerializer().load_template(text), template)
    template["Parameters"]["Stage"]["Default"] = stage
    return template


def build(project: Path, stage: str, out: Path, environ: Mapping[str, str]) -> None:
    """Make the zip that ``chalice deploy`` will find made already, without what is left out."""
    check_imports(project)
    chalice(project, environ, "package", "--stage", stage, str(out))
    for made in (project / ".chalice" / "deployments").glob("*.zip"):
        slim(made, project)


def check_imports(project: Path) -> None:
    """Raises ``Failed`` where a packaged module imports boto3 and that is not wholly in ``requirements.txt``.

    Lambda has one of its own, so the import succeeds; it would meet our botocore, whose data is left out.
    """
    pinned = _pins(project)
    if "boto3" in pinned:
        if "s3transfer" not in pinned:
            raise Failed("requirements.txt names boto3 without s3transfer, which that needs: add it")
        if pinned["boto3"] != pinned.get("botocore"):
            raise Failed(f"boto3 {pinned['boto3']} in requirements.txt is not of botocore's version there")
        return
    for path in sorted([project / "app.py", *(project / "chalicelib").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
            if any(name.partition(".")[0] == "boto3" for name in _imported(node)):
                raise Failed(
                    f"{path.relative_to(project)}, line {getattr(node, 'lineno', 0)}, imports boto3, which "
                    "is not packaged: add boto3 and s3transfer to requirements.txt (see docs/handlers.md)"
                )


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [each.name for each in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []


def _pins(project: Path) -> dict[str, str]:
    """The versions in ``requirements.txt`` by name."""
    lines = (project / "requirements.txt").read_text().splitlines()
    pairs = (line.partition("==") for line in lines if not line.startswith("#"))
    return {_normal(name): version.strip() for name, _, version in pairs}


def slim(path: Path, project: Path) -> None:
    """Write the zip anew: compiled, and without botocore's descriptions of AWS."""
    has_boto3 = "boto3" in _pins(project)
    with ZipFile(path) as before:
        if before.comment == DONE:
            return
        left_out = (DATA,) if not has_boto3 else ()
        entries = [
            entry
            for entry in before.infolist()
            if not entry.filename.startswith(left_out) and not entry.filename.endswith(".pyc")
        ]
        with ZipFile(path.with_suffix(".new"), "w") as after:
            after.comment = DONE
            for entry in entries:
                content = before.read(entry)
                after.writestr(entry, content, ZIP_DEFLATED, compresslevel=9)
                if entry.filename.endswith(".py") and not entry.filename.startswith(SELDOM):
                    compiled = ZipInfo(compiled_name(entry.filename), entry.date_time)
                    compiled.external_attr = entry.external_attr  # Lambda's user must be able to read it
                    after.writestr(
                        compiled, _compiled(entry.filename, content), ZIP_DEFLATED, compresslevel=9
                    )
    path.with_suffix(".new").replace(path)


def compiled_name(name: str) -> str:
    """Where Lambda looks for a compiled module; this machine may keep its own elsewhere."""
    path = PurePosixPath(name)
    return str(path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc")


def _compiled(name: str, source: bytes) -> bytes:
    """As Python writes it to ``__pycache__``, and takes it without looking at the source (PEP 552)."""
    code = source_to_code(source, f"/var/task/{name}")
    return MAGIC_NUMBER + UNCHECKED + source_hash(source) + marshal.dumps(code)


def report(path: Path) -> list[str]:
    """The zip's size, and its ten heaviest parts."""
    sizes: Counter[str] = Counter()
    with ZipFile(path) as made:
        for entry in made.infolist():
            top = entry.filename.partition("/")[0]
            sizes[top] += entry.compress_size
    parts = [f"  {size / 1e6:6.2f} MB  {name}" for name, size in sizes.most_common(10)]
    return [f"the package is {path}: {path.stat().st_size / 1e6:.2f} MB, most of it", *parts]

"""The packages that are measured: ours by `daybook package`, the contenders' as their users would."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from ops.package import chalice, package

ROOT = Path(__file__).resolve().parents[1]
CONTENDERS = ROOT / "bench" / "contenders"
MACHINE = {"x86_64": "x86_64", "aarch64": "arm64"}[os.uname().machine]


@dataclass(frozen=True, slots=True)
class Bundle:
    """An unpacked package: its handler, its own environment, and its zip where it has one."""

    name: str
    folder: Path
    handler: str
    environ: dict[str, str] = field(default_factory=dict)
    zip: Path | None = None


def daybook(work: Path) -> Bundle:
    """Stage dev, for this machine's architecture; API and consumer are the same package."""
    project = work / "daybook"
    project.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__", "deployed", "deployments")
    for name in ("app.py", "requirements.txt"):
        shutil.copy(ROOT / name, project)
    for name in ("chalicelib", ".chalice", "infra"):
        shutil.copytree(ROOT / name, project / name, ignore=ignored)
    _quiet_handlers(project)
    config = project / ".chalice" / "config.json"
    config.write_text(config.read_text().replace('"arm64"', f'"{MACHINE}"'))
    package(project, "dev", project / "out", os.environ, lambda line: None)
    made = project / "out" / "deployment.zip"
    return Bundle("daybook", unzip(made, work / "bundles" / "daybook"), "app.app", zip=made)


def _quiet_handlers(project: Path) -> None:
    """No handlers are measured: the consumer's work ends with what it records."""
    (project / "chalicelib" / "handlers.py").write_text('"""None."""\n')


def usual(work: Path) -> Bundle:
    """The usual handler, packaged by Chalice."""
    project = work / "usual"
    shutil.copytree(CONTENDERS / "usual", project)
    (project / "chalicelib").mkdir()
    (project / "chalicelib" / "__init__.py").touch()
    shutil.copy(CONTENDERS / "paypal.py", project / "chalicelib")
    chalice(project, {**os.environ, "TABLE": "usual"}, "package", "--stage", "bench", str(project / "out"))
    made = project / "out" / "deployment.zip"
    return Bundle("usual", unzip(made, work / "bundles" / "usual"), "app.app", zip=made)


def installed(name: str, work: Path, handler: str = "app.handler") -> Bundle:
    """A contender with its requirements, as `pip install --target` puts them."""
    folder = work / "bundles" / name
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-compile",
    ]
    requirements = CONTENDERS / name / "requirements.txt"
    subprocess.run(
        [*command, "--target", str(folder), "-r", str(requirements)], check=True, capture_output=True
    )
    shutil.copy(CONTENDERS / name / "app.py", folder)
    (folder / "chalicelib").mkdir()
    (folder / "chalicelib" / "__init__.py").touch()
    shutil.copy(CONTENDERS / "paypal.py", folder / "chalicelib")
    return Bundle(name, folder, handler)


def floor(name: str, of: Bundle, work: Path) -> Bundle:
    """One of ``floors.py``, with the libraries of ``of``."""
    folder = work / "bundles" / name
    shutil.copytree(of.folder, folder)
    shutil.copy(ROOT / "bench" / "floors.py", folder)
    return Bundle(name, folder, f"floors.{name}")


def unzip(path: Path, folder: Path) -> Path:
    with ZipFile(path) as made:
        made.extractall(folder)
    return folder


def zipped(folder: Path, path: Path) -> int:
    """The size of a folder as a zip, in bytes."""
    with ZipFile(path, "w", ZIP_DEFLATED) as made:
        for each in sorted(folder.rglob("*")):
            made.write(each, each.relative_to(folder))
    return path.stat().st_size

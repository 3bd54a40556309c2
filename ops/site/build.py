"""``make docs``: build the site into ``build/docs``. A warning, such as a link to nowhere, fails it."""

import json
import shutil
import sys
from pathlib import Path

import yaml
from sphinx.cmd.build import build_main

from ops.cli import SECTIONS, main
from ops.site.reference import commands, http_api, schemas

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE")
ORDER = {
    "Start": ("adopting", "deploy", "upgrading", "beside"),
    "Use": ("handlers", "targets", "subscriptions", "accounting", "sql", "console"),
    "Run": ("runbook", "reliability", "cost", "performance", "settings"),
    "Reference": ("http-api", "commands", "schemas", "states"),
    "Inside": ("architecture", "adding-a-provider", "decisions", "licences"),
}
BESIDE = {"Inside": ("../CONTRIBUTING", "../SECURITY", "../CHANGELOG")}


def source(folder: Path) -> None:
    """The pages as Sphinx reads them: as they lie in the repository, so that their links hold in both."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder / "docs")
    for name in PAGES:
        shutil.copy(ROOT / name, folder)
    built = shutil.ignore_patterns("node_modules", "build")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=built)
    docs = folder / "docs"
    (docs / "http-api.md").write_text(http_api(yaml.safe_load((docs / "openapi.yaml").read_text())))
    files = {
        path.name: json.loads(path.read_text()) for path in sorted((docs / "schemas" / "v1").glob("*.json"))
    }
    (docs / "schemas.md").write_text(schemas(files))
    (docs / "commands.md").write_text(commands(main, SECTIONS))
    for page in folder.rglob("*.md"):  # Sphinx draws none without a script from elsewhere
        page.write_text(page.read_text().replace("```mermaid", "```text"))
    with (folder / "README.md").open("a") as start:
        start.writelines(_tree(title, names) for title, names in ORDER.items())


def _tree(title: str, names: tuple[str, ...]) -> str:
    """One part of the navigation."""
    beside = (each.removeprefix("../") for each in BESIDE.get(title, ()))
    pages = "\n".join([*(f"docs/{name}" for name in names), *beside])
    return f"\n```{{toctree}}\n:caption: {title}\n:hidden:\n\n{pages}\n```\n"


def build(out: Path) -> int:
    """Of the checkout; the exit code."""
    folder = out.with_name(f"{out.name}-source")
    source(folder)
    conf = str(Path(__file__).parent)
    options = ["-W", "--keep-going", "-q", "-E", "-b", "html", "-c", conf]
    return int(build_main([*options, str(folder), str(out)]))


if __name__ == "__main__":
    made = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "docs")
    code = build(made)
    if not code:
        sys.stdout.write(f"{made}/index.html\n")
    sys.exit(code)

"""The licences of what goes into the package: ``python -m ops.licences`` prints ``docs/licences.md``."""

import sys
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path
from typing import NamedTuple

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements.txt"
CLASSIFIER = "License :: "
YOURS = "# Yours:"  # what comes after a line that begins so is not Daybook's
HEAD = """# Licences of what is packaged

Made by `python -m ops.licences` from the installed distributions; a test holds it to that.

| distribution | version | licence |
| --- | --- | --- |
"""


class Licensed(NamedTuple):
    name: str
    version: str
    licence: str


def packaged(requirements: Path = REQUIREMENTS) -> Iterator[Licensed]:
    """Every distribution that Daybook needs, with its licence. Raises ``ValueError`` for a loose pin."""
    for line in required(requirements):
        if line.startswith("#"):
            continue
        name, equals, version = line.partition("==")
        if not equals or not version or set(version) & set("*<>=!~; "):
            raise ValueError(f"not pinned exactly: {line}")
        yield Licensed(name, version, licence(name))


def required(requirements: Path = REQUIREMENTS) -> list[str]:
    """The lines of Daybook's own."""
    return requirements.read_text().partition(f"\n{YOURS}")[0].splitlines()


def licence(name: str) -> str:
    """The SPDX expression where the distribution has one, else the words that it uses."""
    about = metadata(name).json
    if "license_expression" in about:
        return str(about["license_expression"])
    classifiers = [each for each in about.get("classifier", ()) if each.startswith(CLASSIFIER)]
    words = [each.rpartition(" :: ")[2] for each in classifiers]
    return " or ".join(words) or str(about.get("license", "unknown")).partition("\n")[0]


def page() -> str:
    return HEAD + "".join(f"| {each.name} | {each.version} | {each.licence} |\n" for each in packaged())


if __name__ == "__main__":
    sys.stdout.write(page())

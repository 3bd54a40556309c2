"""What reads a stranger's bytes, on a corpus that is checked in, on changes of it, and under a fuzzer."""

import random
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT, TORTURE
from tests.fuzz import TARGETS, changed

CORPUS = ROOT / "tests" / "corpus"
CHANGES = 150  # of each document
SECONDS = 75  # of the fuzzer for each target, in the long form


def corpus(target: str) -> list[Path]:
    found = sorted(CORPUS.joinpath(target).iterdir())
    assert len(found) > 2
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_and_what_is_made_of_it_by_chance(target: str) -> None:
    """Every document as it is, and with up to ten of its values replaced, removed or moved."""
    rng = random.Random(target)
    for path in corpus(target):
        document = path.read_bytes()
        TARGETS[target](document)
        for _ in range(CHANGES):
            made = document
            for _ in range(rng.randrange(1, 10)):
                made = changed(made, rng) if "facts" in target else flipped(made, rng)
            TARGETS[target](made)


def flipped(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


@pytest.mark.skipif(not TORTURE, reason="the long form, make torture")
@pytest.mark.parametrize("target", TARGETS)
def test_a_coverage_guided_fuzzer_finds_nothing(
    target: str, tmp_path: Path, figures: dict[str, float]
) -> None:
    """atheris, from the corpus on; whatever it finds is printed with its input."""
    assert find_spec("atheris"), "make torture installs it"
    shutil.copytree(CORPUS / target, tmp_path / "corpus")
    command = [sys.executable, "-m", "tests.fuzz", target, str(tmp_path / "corpus"), str(SECONDS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    executed = re.search(r"number_of_executed_units:\s+(\d+)", done.stderr)
    assert executed, done.stderr[-2000:]
    figures[f"inputs fuzzed, {target}"] = int(executed[1])
    assert int(executed[1]) > 1000

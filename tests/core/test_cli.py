"""The ``daybook`` command where it goes wrong: what it says, and how it exits."""

import random
import tomllib

import pytest
from click.testing import CliRunner

from chalicelib.providers import PROVIDERS
from ops.cli import main
from ops.stories import MADE, STORIES, tell
from tests.conftest import ROOT, free_port
from tests.fakes import NOW, as_bytes


def run(*arguments: str, **environ: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments, env=environ)
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["send", "stripe"], "give an event TYPE or a --story"),
        (["send", "stripe", "charge.succeeded", "--story", "checkout"], "give an event TYPE or a --story"),
        (["send", "stripe", "nonsense"], "no event type nonsense"),
        (["send", "square", "x.y"], "'square' is not one of"),
        (["send", "stripe", "charge.succeeded", "--currency", "ZZZ"], "ZZZ is no ISO 4217 code"),
        (["send", "stripe", "charge.succeeded", "--amount", "0"], "is not above 0"),
        (["send", "stripe", "charge.succeeded", "--repeat", "0"], "0 is not in the range"),
        (["list", "--limit", "0"], "0 is not in the range"),
        (["verify", "--against-provider", "--sample", "-1"], "-1 is not in the range"),
        (["tail", "--count", "0"], "0 is not in the range"),
        (["console", "--port", "99999"], "99999 is not in the range"),
        (["frobnicate"], "No such command"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_to_do(arguments: list[str], says: str) -> None:
    """Before anything is sent."""
    code, output = run(*arguments)
    assert code == 2
    assert says in output


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("AWS_PORT", "x", "AWS_PORT is not a port: x"),
        ("AWS_PORT", "²", "AWS_PORT is not a port"),
        ("DAYBOOK_LIVEMODE", "yes", "DAYBOOK_LIVEMODE must be one of: true, false, or unset"),
    ],
)
def test_a_wrong_setting_exits_with_2_and_names_it(name: str, value: str, says: str) -> None:
    """In a line, like any other wrong usage."""
    code, output = run("reconcile", **{name: value})
    assert (code, says in output) == (2, True)


def test_without_a_server_it_says_how_to_start_one() -> None:
    """Exit 1, and one line: for sending, and for reading."""
    port = str(free_port())
    for arguments in (("send", "stripe", "charge.succeeded"), ("list",), ("show", "pi_1")):
        code, output = run(*arguments, PORT=port, AWS_PORT=port)
        assert code == 1
        assert "; is `make run` running, and " in output


@pytest.mark.parametrize("provider", MADE)
def test_every_type_and_story_makes_events_that_are_understood(provider: str) -> None:
    """Genuine shapes: an id, the type that was asked for, and facts that can be read."""
    module = PROVIDERS[provider]
    for type_ in MADE[provider].types:
        _, [sent] = tell(provider, random.Random(1), NOW, 5000, "EUR", type_=type_)
        event = module.event(as_bytes(sent), NOW)
        assert event.type == type_
        assert (
            module.facts(event) or type_.startswith("CHECKOUT.ORDER.") or type_ == "checkout.session.expired"
        )
    for story in STORIES:
        subject, events = tell(provider, random.Random(1), NOW, 500, "JPY", story=story)
        assert subject in {module.event(as_bytes(each), NOW).subject for each in events}
        assert len({each["id"] for each in events}) == len(events)


def test_the_same_seed_makes_the_same_events() -> None:
    """So that a story can be sent again as duplicates."""
    first, again = (tell("stripe", random.Random(5), NOW, 5000, "EUR", story="checkout") for _ in range(2))
    assert first == again


def test_it_says_its_version() -> None:
    """The one in pyproject.toml, which a release's tag is named by."""
    result = CliRunner().invoke(main, ["--version"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert result.output == f"{project['version']}\n"

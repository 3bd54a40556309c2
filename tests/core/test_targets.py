"""Targets as a stage's settings name them; what cannot be is said before anything is received."""

import pytest

from chalicelib.errors import InvalidSetting
from chalicelib.settings import read
from chalicelib.targets import MILESTONES, Target, targets

QUEUE = "arn:aws:sqs:eu-central-1:123456789012:books.fifo"


def one(value: str, is_local: bool = False, name: str = "WAREHOUSE") -> Target:
    [found] = targets({f"DAYBOOK_TARGET_{name}": value}, is_local)
    return found


def test_an_endpoint() -> None:
    """With the types that it is to be sent, and what it waits for."""
    found = one("https://warehouse.example.com:8443/hook?a=1 payment.* dispute.lost needs=reference")
    assert (found.name, found.kind) == ("warehouse", "https")
    assert found.address == "https://warehouse.example.com:8443/hook?a=1"
    assert (found.patterns, found.needs) == (("payment.*", "dispute.lost"), "reference")
    assert (found.handler_name, found.secret_name) == ("target:warehouse", "target_warehouse")


def test_without_types_it_is_all_milestones() -> None:
    """Of raw events only those that are named; a payout has no reference to wait for."""
    assert one(QUEUE).patterns == MILESTONES
    assert "payout.*" in MILESTONES
    assert "payout.*" not in one(f"{QUEUE} needs=reference").patterns
    assert one(f"{QUEUE} stripe.invoice.*").patterns == ("stripe.invoice.*",)


def test_a_queue_and_a_channel() -> None:
    """Of a channel the address is a secret."""
    assert (one(QUEUE).kind, one(QUEUE).address) == ("sqs", QUEUE)
    channel = one("slack dispute.opened")
    assert (channel.kind, channel.address, channel.patterns) == ("slack", "", ("dispute.opened",))


def test_stage_local_may_send_to_this_machine() -> None:
    """And nothing else may, nor anywhere else without TLS."""
    assert one("http://127.0.0.1:3000/hook", is_local=True).kind == "https"
    with pytest.raises(InvalidSetting):
        one("http://127.0.0.1:3000/hook")
    with pytest.raises(InvalidSetting):
        one("http://example.com/hook", is_local=True)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("http://example.com", "its first word has to be an https:// address"),
        ("https://", "first word has to be"),
        ("https://user:secret@example.com", "first word has to be"),
        ("https://example.com:port", "first word has to be"),
        ("https://[", "first word has to be"),
        ("arn:aws:sqs:eu-central-1:123456789012:books", "that ends with .fifo"),
        ("ftp://example.com", "first word has to be"),
        ("https://bücher.example", "first word has to be"),
        ("https://evil.com\\@localhost/", "first word has to be"),
        ("slack https://hooks.slack.com/services/SECRET", "goes into the secret"),
        ("slack payment.succeded", "nobody is ever notified of payment.succeded"),
        ("slack payment.succeeded payment.won", "nobody is ever notified of payment.won"),
        ("https://example.com/hook, payment.*", "spaces alone are between its words"),
        ("slack needs=money", "can need: reference"),
        ("slack needs=reference needs=reference", "one thing"),
        ("slack payout.paid needs=reference", "can need: reference"),
    ],
)
def test_what_cannot_be_is_refused(value: str, said: str) -> None:
    """By the setting's name, with what it may be."""
    with pytest.raises(InvalidSetting) as refused:
        one(value)
    assert str(refused.value).startswith("DAYBOOK_TARGET_WAREHOUSE: ")
    assert said in str(refused.value)
    assert "secret@" not in str(refused.value)
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "1ST", "MY-SHOP", "X" * 32, "lower"])
def test_a_name_that_cannot_be(name: str) -> None:
    """It is part of entries, secrets and commands."""
    with pytest.raises(InvalidSetting, match="A-Z, 0-9 and _"):
        one(QUEUE, name=name)


def test_an_empty_setting_is_none() -> None:
    """As for the others."""
    assert targets({"DAYBOOK_TARGET_WAREHOUSE": " "}, is_local=False) == ()


def test_they_are_among_the_settings() -> None:
    """Stage local signs with a secret that everybody knows, unless it is given another."""
    local = read({"DAYBOOK_TARGET_A": QUEUE, "DAYBOOK_TARGET_B": "slack", "TARGET_B": "https://x.example"})
    assert [each.name for each in local.targets] == ["a", "b"]
    assert local.local_credentials["target_a"][0].startswith("whsec_")
    assert local.local_credentials["target_b"] == ("https://x.example",)
    assert read({"DAYBOOK_STAGE": "dev", "DAYBOOK_TARGET_A": QUEUE}).local_credentials == {}

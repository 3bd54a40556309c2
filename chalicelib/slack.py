"""A milestone in one line, as Slack shows it."""

from typing import Any

from chalicelib.events import Event
from chalicelib.money import display
from chalicelib.notification import Record
from chalicelib.payments import Milestone

# https://docs.slack.dev/messaging/formatting-message-text/#escaping
ESCAPED = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"))


def text(*notified: Any) -> str:
    """Its type, amount, reference and record. No name and no address of a person is in it."""
    if len(notified) == 1:
        event: Event = notified[0]
        return _line(f"{event.provider}.{event.type}", event.is_replay, [_code(event.subject)])
    about: Record = notified[0]
    milestone: Milestone = notified[1]
    parts = [_amount(about, milestone), about.reference and _code(about.reference), _code(about.id)]
    return _line(milestone.type, milestone.replay, [each for each in parts if each])


def _line(type_: str, is_replay: bool, parts: list[str]) -> str:
    again = " (again, on purpose)" if is_replay else ""
    return f"*{_plain(type_)}*{again} {' · '.join(parts)}"


def _amount(about: Record, milestone: Milestone) -> str:
    currency = getattr(about, "currency", None)
    return "" if milestone.amount is None or not currency else display(milestone.amount, currency)


def _code(given: str) -> str:
    """What a shop or a customer wrote: as code nobody is mentioned by it, and nothing linked."""
    return f"`{_plain(given)}`"


def _plain(given: str) -> str:
    """As text, in one line."""
    for sign, escaped in ESCAPED:
        given = given.replace(sign, escaped)
    return "".join(each if each.isprintable() else " " for each in given).replace("`", "'")

"""A delivery as it came in, and the event that it carries."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from chalicelib.errors import InvalidPayload

# What may become part of a key, a queue's group or a log line: printable ASCII without spaces.
SAFE_ID = re.compile(r"[!-~]{1,200}")
OWN = "daybook."  # how the types of events of our own making begin: no provider sends any
IMPORTED = "imported_"  # what an import recorded: nobody is notified of it
OWN_IDS = ("asked", "balance_", "clock", IMPORTED, "transfer-")  # how our own events' ids begin
CLOCK = f"{OWN}clock"  # that say only that time has passed
DEEPEST = 200  # levels of JSON; a provider's own have about ten
STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
BRACKETS = re.compile(rb"[\[\]{}]")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One HTTP attempt to send an event. Header names are in lower case; ``received_at`` in milliseconds.

    ``url`` is where it was sent to, as the sender knows it: some providers sign that too.
    """

    headers: Mapping[str, str]
    body: bytes
    received_at: int
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a provider says happened. Instants in milliseconds.

    ``as_of`` is the instant whose state its object shows: its own, or when that object was fetched.
    ``subject`` is ``provider:id`` of the object that it is about; ``customer`` is the provider's id of the
    person that the object belongs to; ``object_id`` the provider's id of what it shows, where it says so.
    ``payload`` is the parsed body, ``completed`` the same as JSON with what the provider showed of it when it
    was asked, if it was. ``about`` is what is the same in every delivery of the event (at a provider that
    shows one thing by several versions: of one ``about_version``), ``None`` if that is not known.
    ``is_confirmed``: the provider was asked about this one, and bears it out. ``is_replay``: a handler is
    notified of it again, on purpose. ``account`` is a connected account's id; ``via`` the name of the account
    whose secret it was signed with, where the stage has several.
    """

    provider: str
    id: str
    type: str
    subject: str
    created_at: int
    received_at: int
    as_of: int
    livemode: bool | None
    account: str | None
    api_version: str | None
    payload: Mapping[str, Any]
    completed: bytes | None = None
    about: Any = None
    about_version: str | None = None
    customer: str | None = None
    object_id: str | None = None
    is_confirmed: bool = False
    is_replay: bool = False
    via: str | None = None

    @property
    def of_account(self) -> str | None:
        """Whose it is: a connected account's, by its id; else one of the stage's own, by its name."""
        return self.account or self.via

    def is_same_as(self, other: "Event") -> bool:
        """Whether both say the same. Two API versions may show one thing differently: that proves nothing."""
        is_of_other_version = self.about_version != other.about_version
        return self.type == other.type and (is_of_other_version or self.about == other.about)

    def is_of_other_mode(self, livemode: bool | None) -> bool:
        """Whether it is a test's where ``livemode``, or the other way round, as far as either says so."""
        return None not in (livemode, self.livemode) and self.livemode != livemode

    def said(self, subject: str | None = None) -> str:
        """What it is of, in a few words; under the subject that it was taken to be about at first."""
        return f"{self.type} {subject or self.subject} {self.object_id}"

    @property
    def key(self) -> str:
        """``provider:id``: no two providers' events share it."""
        return f"{self.provider}:{self.id}"


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object in ``body``. Raises ``InvalidPayload`` for anything else, or deeper than any is.

    How deep Python itself would go depends on how deep its own calls are: not the same at the door and later.
    """
    if body.count(b"{") + body.count(b"[") > DEEPEST and _depth(body) > DEEPEST:
        raise InvalidPayload("the body is nested too deeply")
    try:
        payload = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InvalidPayload("the body is not JSON") from None
    if not isinstance(payload, dict):
        raise InvalidPayload("the body is not a JSON object")
    return payload


def _depth(body: bytes) -> int:
    depth = deepest = 0
    for each in BRACKETS.findall(STRINGS.sub(b"", body)):
        depth += 1 if each in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def safe_id(value: object) -> str | None:
    """``value`` if it can serve as an id, else ``None``."""
    if isinstance(value, str) and SAFE_ID.fullmatch(value):
        return value
    return None


def required_id(value: object) -> str:
    """``value`` as an event id. Raises ``InvalidPayload``."""
    event_id = safe_id(value)
    if event_id is None:
        raise InvalidPayload("the event has no id")
    return event_id


def mapping(value: object) -> Mapping[str, Any]:
    """``value`` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Mapping[str, Any]]:
    """The JSON objects in ``value`` if it is a list, else none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []

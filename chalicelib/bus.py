"""Telling the rest of the business through EventBridge: a handler that is there where a bus is configured.

``source`` is ``daybook``; ``detail-type`` the milestone's or event's type; ``detail`` holds the payment and
the milestone, or the raw event.
"""

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

from chalicelib.aws import Caller
from chalicelib.errors import AwsError, Unavailable
from chalicelib.events import Event
from chalicelib.payments import Milestone, Payment
from chalicelib.payouts import Payout
from chalicelib.reactions import KINDS, RAW, Handler, Handlers, registered
from chalicelib.settings import Settings
from chalicelib.subscriptions import Subscription

MILESTONE_TYPES = tuple(f"{kind}*" for kind in KINDS)
RAW_TYPES = tuple(f"{name}*" for name in RAW)
# Bytes of an entry's detail, below what the bus takes in every region.
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html
LARGEST = 250_000


def handlers_of(settings: Settings, aws: Callable[[], Caller]) -> Handlers:
    """The user's own, imported where they are run; and the event bus where the stage has one."""
    import_module(settings.handlers)  # importing it registers them
    if not settings.event_bus:
        return registered
    return registered + EventBus(aws(), settings.event_bus).handlers(settings.event_bus_raw)


class EventBus:
    """Publishes to the bus of that name."""

    def __init__(self, aws: Caller, name: str) -> None:
        self._aws = aws
        self._name = name

    def handlers(self, raw: bool) -> list[Handler]:
        """For milestones, and for every raw event where ``raw``."""
        milestones = Handler("event_bus", MILESTONE_TYPES, self.publish_milestone)
        events = Handler("event_bus_raw", RAW_TYPES, self.publish_event)
        return [milestones, events] if raw else [milestones]

    def is_there(self) -> bool:
        """Whether the bus exists: what is sent to one that does not, EventBridge takes, and drops.

        https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html, EventBusName
        """
        try:
            self._aws("events", "DescribeEventBus", Name=self._name)
        except AwsError as error:
            if error.code == "ResourceNotFoundException":
                return False
            raise
        return True

    def publish_milestone(self, about: Payment | Subscription | Payout, milestone: Milestone) -> None:
        """One whose payment is too large for the bus goes without its other milestones and related objects.

        Raises ``Unavailable`` if the bus did not take it.
        """
        if isinstance(about, Subscription):
            own = {"subscription": about.record(), "milestone": milestone.to_dict()}
            if len(json.dumps(own)) > LARGEST:
                own["subscription"]["milestones"] = [milestone.to_dict()]
            self._publish(milestone.type, json.dumps(own))
            return
        if isinstance(about, Payout):
            paid_out = {"payout": about.record(), "milestone": milestone.to_dict()}
            self._publish(milestone.type, json.dumps(paid_out))
            return
        shown, reached = about.to_dict(), milestone.to_dict()
        detail = json.dumps({"payment": shown, "milestone": reached})
        if len(detail) > LARGEST:
            short = {**shown, "milestones": [reached], "related": {}}
            detail = json.dumps({"payment": short, "milestone": reached})
        self._publish(milestone.type, detail)

    def publish_event(self, event: Event) -> None:
        """One that is too large for the bus goes without its content: it would be refused for ever.

        Raises ``Unavailable`` if the bus did not take it.
        """
        named: dict[str, Any] = {"id": event.id, "subject": event.subject}
        if event.is_replay:
            named["replay"] = True
        detail = json.dumps({**named, "event": event.payload})
        if len(detail) > LARGEST:
            detail = json.dumps(named)
        self._publish(f"{event.provider}.{event.type}", detail)

    def _publish(self, type_: str, detail: str) -> None:
        entry = {
            "EventBusName": self._name,
            "Source": "daybook",
            "DetailType": type_,
            "Detail": detail,
        }
        answer = self._aws("events", "PutEvents", Entries=[entry])
        if answer["FailedEntryCount"]:
            raise Unavailable("the event bus did not take it", reason="event_bus")

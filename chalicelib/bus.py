"""Telling the rest of the business through EventBridge: a handler that is there where a bus is configured.

``source`` is ``daybook``; ``detail-type`` the milestone's or event's type; ``detail`` holds the payment and
the milestone, or the raw event.
"""

import json
from collections.abc import Callable
from importlib import import_module

from chalicelib import notification
from chalicelib.aws import Caller
from chalicelib.errors import AwsError, Unavailable
from chalicelib.events import Event
from chalicelib.noting import Noting
from chalicelib.payments import Milestone
from chalicelib.reactions import RAW, Handler, Handlers, registered
from chalicelib.settings import Settings
from chalicelib.targets import MILESTONES

RAW_TYPES = tuple(f"{name}*" for name in RAW)


def handlers_of(settings: Settings, aws: Callable[[], Caller], noting: Callable[[], Noting]) -> Handlers:
    """The user's own, imported where they are run; the event bus and the targets where the stage has some."""
    import_module(settings.handlers)  # importing it registers them
    found: Handlers = registered
    if settings.event_bus:
        found = found + EventBus(aws(), settings.event_bus).handlers(settings.event_bus_raw)
    return found + noting().handlers(settings.targets) if settings.targets else found


class EventBus:
    """Publishes to the bus of that name."""

    def __init__(self, aws: Caller, name: str) -> None:
        self._aws = aws
        self._name = name

    def handlers(self, raw: bool) -> list[Handler]:
        """For milestones, and for every raw event where ``raw``."""
        milestones = Handler("event_bus", MILESTONES, self.publish_milestone)
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

    def publish_milestone(self, about: notification.Record, milestone: Milestone) -> None:
        """Raises ``Unavailable`` if the bus did not take it."""
        self._publish(milestone.type, json.dumps(notification.of_milestone(about, milestone)))

    def publish_event(self, event: Event) -> None:
        """Raises ``Unavailable`` if the bus did not take it."""
        self._publish(f"{event.provider}.{event.type}", json.dumps(notification.of_event(event)))

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

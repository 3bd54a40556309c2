"""What is sent of a milestone or of a raw event, wherever it goes: ``docs/schemas/v1`` describes it."""

import json
from typing import Any

from chalicelib.events import Event
from chalicelib.payments import Milestone, Payment
from chalicelib.payouts import Payout
from chalicelib.subscriptions import Subscription
from chalicelib.times import to_iso

# Bytes, below what EventBridge takes in every region, and SQS.
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html
LARGEST = 250_000
Record = Payment | Subscription | Payout


def of_milestone(about: Record, milestone: Milestone) -> dict[str, Any]:
    """``notification.json``. One that is too large goes without other milestones and related objects."""
    name, shown = _shown(about)
    reached = milestone.to_dict()
    whole = {name: shown, "milestone": reached}
    if len(json.dumps(whole)) <= LARGEST:
        return whole
    related: dict[str, Any] = {"related": {}} if "related" in shown else {}
    return {name: {**shown, "milestones": [reached], **related}, "milestone": reached}


def _shown(about: Record) -> tuple[str, dict[str, Any]]:
    if isinstance(about, Subscription):
        return "subscription", about.record()
    if isinstance(about, Payout):
        return "payout", about.record()
    return "payment", about.to_dict()


def of_event(event: Event) -> dict[str, Any]:
    """``event.json``. One that would be too large goes without its content."""
    named: dict[str, Any] = {"id": event.id, "subject": event.subject}
    if event.is_replay:
        named["replay"] = True
    whole = {**named, "event": event.payload}
    return whole if len(json.dumps(whole)) <= LARGEST else named


def webhook(*notified: Any) -> dict[str, Any]:
    """``webhook.json``: what a handler is called with, as a target is sent it.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#payload-structure
    """
    if len(notified) == 1:
        event: Event = notified[0]
        type_, at = f"{event.provider}.{event.type}", to_iso(event.created_at)
        return {"type": type_, "timestamp": at, "data": of_event(event)}
    about, milestone = notified
    return {"type": milestone.type, "timestamp": milestone.at, "data": of_milestone(about, milestone)}

"""Sending parked events through the queue and the consumer again, and what that would change; and what is
parked for a target to it again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from chalicelib.beginning import ALWAYS
from chalicelib.errors import DISTRUSTED, DaybookError, NotShown, Refused
from chalicelib.events import Event
from chalicelib.inbox import Inbox, Message
from chalicelib.kinds import PAYMENT, kind_of
from chalicelib.ledger import Ledger
from chalicelib.parking import ParkedEvent
from chalicelib.payments import Facts, join, project
from chalicelib.providers import PROVIDERS
from chalicelib.providers.protocol import needs_asking
from chalicelib.times import from_iso
from chalicelib.undelivered import Undelivered
from chalicelib.wakeups import Waiter, Wakeups
from ops.providers_api import Apis

# What its provider did not bear out: that it does not show it (the exception's class was noted) is a no too.
DOUBTED = (*DISTRUSTED, NotShown.__name__)


BEFORE = "and nobody is notified: it is from before the stage began to listen"


def event_of(parked: ParkedEvent) -> Event:
    """The event in a parked message. Raises ``DaybookError``, ``KeyError``, ``ValueError`` for none."""
    message = Message.decode(parked.message)
    return replace(PROVIDERS[message.provider].event(message.body, message.received_at), via=message.via)


@dataclass(frozen=True, slots=True)
class Redrive:
    """One stage's parked events. ``clock`` in milliseconds; ``apis`` are those that the stage can ask.

    ``began`` is the instant from which on handlers are notified.
    """

    ledger: Ledger
    inbox: Inbox
    clock: Callable[[], int]
    apis: Callable[[], Apis] = dict
    began: Callable[[], int] = lambda: ALWAYS

    def refusal(self, parked: ParkedEvent) -> str | None:
        """Why it stays parked: it is distrusted, and its provider cannot be asked whether it is genuine.

        What it was held against may be gone by now (a transmission is known for 40 days): that is no proof.
        """
        if parked.reason not in DOUBTED:
            return None
        try:
            event = event_of(parked)
            api = self.apis().get(event.provider)
            if api and api.can_complete(event.via) and needs_asking(PROVIDERS[event.provider], event):
                return None
        except (DaybookError, KeyError, ValueError):
            pass  # it cannot be asked about
        return f"stays parked: it is {parked.reason}, and its provider cannot be asked whether it is genuine"

    def preview(self, parked: ParkedEvent) -> Iterator[str]:
        """What it would change of its payment, a field a line; or why nothing."""
        refusal = self.refusal(parked)
        if refusal:
            yield refusal
            return
        if parked.reason in DOUBTED:
            yield f"its provider is asked about it; set aside again if it is {parked.reason} still"
            return
        try:
            event = event_of(parked)
            proved = PROVIDERS[event.provider].facts(event) or {event.subject: {}}
        except Exception as error:
            yield f"cannot be understood: {type(error).__name__}"
            return
        if self.ledger.event(event.subject, event.id):
            yield "is recorded already; handlers that are left would run"
            return
        changes = {subject: [*self._changes(subject, facts)] for subject, facts in proved.items()}
        for subject, lines in changes.items():
            of_other = "" if subject == event.subject else f"{subject} "
            yield from (f"{of_other}{line}" for line in lines)
        if not any(changes.values()):
            yield "is recorded, and changes nothing of a payment"

    def _changes(self, subject: str, facts: Facts) -> Iterator[str]:
        kind, before = kind_of(subject), self.ledger.record(subject).facts
        if kind.entry != PAYMENT:
            was, will_be = kind.shown(subject, before), kind.shown(subject, kind.join(before, facts))
            yield from (f"{name} changes" for name in was if was[name] != will_be[name])
            return
        shown, after = project(subject, before), project(subject, join(before, facts))
        for name in shown.__slots__:
            is_different = getattr(shown, name) != getattr(after, name)
            if is_different and name not in ("milestones", "created_at", "updated_at", "related"):
                yield f"{name}: {getattr(shown, name)} becomes {getattr(after, name)}"
        known = {milestone.id for milestone in shown.milestones}
        for milestone in after.milestones:
            if milestone.id not in known:
                is_heard = from_iso(milestone.at) >= self.began()
                yield f"reaches {milestone.type}" + ("" if is_heard else f", {BEFORE}")

    def send(self, parked: ParkedEvent) -> None:
        """Put it on the queue, then take it off the parked ones. One that fails again is parked again.

        Raises ``Refused`` for what is not to be trusted, ``Unavailable``; then it stays parked.
        """
        refusal = self.refusal(parked)
        if refusal:
            raise Refused(f"{parked.event_id} {refusal}")
        once = f"redrive {parked.subject} {parked.event_id} {self.clock()}"
        self.inbox.put(_redriven(parked), parked.subject, once)
        self.ledger.parking.unpark(parked)


def deliver_anew(ledger: Ledger, wakeups: Wakeups, waiting: Undelivered, now: int) -> None:
    """Have a target sent what waits for it at once, as often as at first. Raises ``Unavailable``."""
    redriven = ledger.undelivered.change(waiting, lambda each: each.redriven(now), now)
    wakeups.send(redriven.wakeup)


def deliver_to(ledger: Ledger, wakeups: Wakeups, waiting: Undelivered, target: str, now: int) -> None:
    """Have another target sent what waits for one whose name was mistyped, say. Raises ``Unavailable``.

    Killed in between, both have it.
    """
    other = Waiter(waiting.subject, target)
    for task in waiting.tasks:
        ledger.undelivered.add(other, task, now)
        ledger.undelivered.change(
            ledger.undelivered.read(waiting.waiter), partial(Undelivered.without, task=task, now=now), now
        )
    wakeups.send(ledger.undelivered.read(other).wakeup)


def _redriven(parked: ParkedEvent) -> str:
    """Its message, marked as one that was set aside; as it is, if it cannot be read."""
    try:
        message = Message.decode(parked.message)
    except ValueError:
        return parked.message
    is_distrusted = message.is_distrusted or parked.reason in DOUBTED
    return replace(message, is_redriven=True, is_distrusted=is_distrusted).encode()

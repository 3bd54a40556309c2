"""What records tell one another, so that each says what became of the others.

invoice ─→ payment ─→ subscription ←─ plan      which subscription it paid for; what was reversed of it; for
   └──────────────────────↑                     how long a sale pays

What a record was told follows from what it names and from those that it names as they are: so that it is the
same in whatever order all of them are heard of, and when it is made anew from its events.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from chalicelib import payments
from chalicelib.joining import Facts, Fields, things
from chalicelib.kinds import INVOICE, PAYMENT, PLAN, SUBSCRIPTION, kind_of
from chalicelib.subscriptions.paid import bills
from chalicelib.subscriptions.terms import DISPUTED, LOST, REFUNDED
from chalicelib.times import from_iso

ORDER = (PLAN, INVOICE, PAYMENT, SUBSCRIPTION)  # each tells those after it; others tell nobody
REVERSALS = {"payment.refunded": REFUNDED, "dispute.opened": DISPUTED, "dispute.lost": LOST}


# ── what one tells ──────────────────────────────────────────────────────────────────────────────────


def told(subject: str, facts: Facts) -> Mapping[str, Facts]:
    """What a record tells, by the subject of whom it tells it."""
    tells = TELLS.get(kind_of(subject).entry)
    return tells(subject, facts) if tells else {}


def _by_invoice(subject: str, facts: Facts) -> Mapping[str, Facts]:
    own = facts.get("invoice", {})
    subscription, paid_by = own.get("subscription"), own.get("payments", [])
    is_elsewhere = "is_out_of_band" in own
    if subscription is None or not (paid_by or is_elsewhere):
        return {}
    related = [f"subscription {_id(subscription)}"]
    found: dict[str, Facts] = {payment: {"payment": {"related": related}} for payment in paid_by}
    paid: Fields = {"payments": paid_by} if paid_by else {"is_out_of_band": 1}
    return {**found, subscription: {f"invoice {_id(subject)}": paid}}


def _by_payment(subject: str, facts: Facts) -> Mapping[str, Facts]:
    """How it was reversed, if it was: when, and what holds now."""
    of = _related(subject, facts, "subscription")
    if not of:
        return {}
    shown = payments.project(subject, facts)
    reversals = {
        REVERSALS[each.type]: from_iso(each.at) for each in shown.milestones if each.type in REVERSALS
    }
    if shown.refunded < shown.captured:
        reversals.pop(REFUNDED, None)
    if not reversals:
        return {}
    said = {"reversals": reversals, **_holds(shown)}
    return {subscription: {f"payment {subject}": said} for subscription in of}


def _holds(shown: payments.Payment) -> dict[str, str]:
    if shown.status == "charged_back":
        return {"reversed": LOST}
    if shown.status == "disputed":
        return {"reversed": DISPUTED}
    is_refunded = shown.captured > 0 and shown.refunded >= shown.captured
    return {"reversed": REFUNDED} if is_refunded else {}


def _by_subscription(subject: str, facts: Facts) -> Mapping[str, Facts]:
    """Its plan, as long as that is not known: that it waits for it."""
    plan = _plan(subject, facts)
    if plan is None or f"plan {_id(plan)}" in facts:
        return {}
    return {plan: {PLAN: {"waiting": [subject]}}}


def _plan(subject: str, facts: Facts) -> str | None:
    body = facts.get("subscription", {}).get("body")
    plan = json.loads(body[-1]).get("plan") if body else None
    return None if plan is None else _beside(subject, plan)


def _by_plan(subject: str, facts: Facts) -> Mapping[str, Facts]:
    return {each: _offer(subject, facts) for each in facts.get(PLAN, {}).get("waiting", ())}


def _offer(plan: str, facts: Facts) -> Facts:
    offer = facts.get(PLAN, {}).get("offer")
    return {f"plan {_id(plan)}": {"offer": offer}} if offer else {}


TELLS: Mapping[str, Callable[[str, Facts], Mapping[str, Facts]]] = {
    INVOICE: _by_invoice,
    PAYMENT: _by_payment,
    SUBSCRIPTION: _by_subscription,
    PLAN: _by_plan,
}


def said_to(subject: str, by: str, facts: Facts) -> Facts | None:
    """What one tells another that names it. A plan tells all."""
    if kind_of(by).entry == PLAN:
        return _offer(by, facts)
    return told(by, facts).get(subject)


# ── who tells it ────────────────────────────────────────────────────────────────────────────────────


def named(subject: str, facts: Facts) -> set[str]:
    """The records that a record names: what they tell it is part of it."""
    entry = kind_of(subject).entry
    if entry == PAYMENT:
        return _related(subject, facts, "invoice")
    if entry == SUBSCRIPTION:
        invoices = {_beside(subject, id_) for id_, _ in things(facts, "invoice")}
        plan = _plan(subject, facts)
        paid_by = {payment for each in bills(facts) for payment in each.payments}
        return invoices | paid_by | ({plan} if plan else set())
    return set()


def hearing(subject: str, facts: Facts, by: str, said: Facts) -> Facts:
    """Its facts once it heard what another one says. What became of a payment takes the place of what was."""
    if kind_of(subject).entry != PLAN and by not in named(subject, facts):
        return facts
    kept = {thing: fields for thing, fields in facts.items() if thing != f"payment {by}"}
    return kind_of(subject).join(kept, said)


def _related(subject: str, facts: Facts, kind: str) -> set[str]:
    related = facts.get("payment", {}).get("related", [])
    return {_beside(subject, each.partition(" ")[2]) for each in related if each.startswith(f"{kind} ")}


def _beside(subject: str, object_id: str) -> str:
    """The subject of another object of the same account."""
    return f"{subject.rpartition(':')[0]}:{object_id}"


def _id(subject: str) -> str:
    return subject.rpartition(":")[2]


# ── together ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Linked:
    """Records with their new facts, and what they tell others. ``read`` reads a record's facts by subject;
    of what is not recorded there are none. ``asked`` are those that others were made from: none of them may
    have changed before all is written."""

    read: Callable[[str], Facts]
    before: dict[str, Facts] = field(default_factory=dict)
    after: dict[str, Facts] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    def add(self, subject: str, proved: Facts) -> None:
        """What an event proves of a record."""
        self.before[subject] = self.read(subject)
        self.after[subject] = kind_of(subject).join(self.before[subject], proved)

    def spread(self) -> Mapping[str, Facts]:
        """The facts of all those that change, and of those that an event proves something of."""
        for entry in ORDER:
            for subject in [each for each in self.after if kind_of(each).entry == entry]:
                self._hear(subject)
                self._tell(subject)
        return self.after

    def _hear(self, subject: str) -> None:
        """What those tell that are named for the first time; also by what one of them told."""
        known = named(subject, self.before[subject])
        while new := sorted(named(subject, self.after[subject]) - known):
            known.update(new)
            self.asked.update(new)
            for by in new:
                said = said_to(subject, by, self.after[by] if by in self.after else self.read(by))
                if said:
                    self.after[subject] = hearing(subject, self.after[subject], by, said)

    def _tell(self, subject: str) -> None:
        """Those that are recorded, if it has something else to say than before."""
        before, after = told(subject, self.before[subject]), told(subject, self.after[subject])
        for to in {**before, **after}:
            said = after.get(to, {})
            if before.get(to, {}) == said:
                continue
            facts = self.after.get(to) or self.read(to)
            heard = hearing(to, facts, subject, said)
            if heard != facts:
                self.before.setdefault(to, facts)
                self.after[to] = heard


def is_alone(subject: str, before: Facts, after: Facts) -> bool:
    """Whether a change concerns no other record."""
    return told(subject, before) == told(subject, after) and named(subject, before) == named(subject, after)


def told_by(subjects: Iterable[str], read: Callable[[str], Facts]) -> list[str]:
    """Those subjects, and all that they tell something."""
    found = list(dict.fromkeys(subjects))
    for subject in found:
        found += [to for to in told(subject, read(subject)) if to not in found]
    return found


def heard_by(subject: str, facts: Facts, read: Callable[[str], Facts]) -> Facts:
    """Facts that were made from events alone, with what those tell that they name."""
    asked: set[str] = set()
    while left := sorted(named(subject, facts) - asked):
        for by in left:
            said = said_to(subject, by, read(by))
            if said:
                facts = hearing(subject, facts, by, said)
        asked.update(left)
    return facts

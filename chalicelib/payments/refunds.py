"""Refunds: single ones, and those that only a running total shows.

Three sentences rule all of it; ``docs/states.md`` has them with an example each:

1. A refund counts from when it succeeded until it failed, as far as its charge captured that much.
2. A running total proves what the single refunds made by then do not explain; the last total holds.
3. What was held and never captured is let go, not refunded, whatever the provider calls it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import NamedTuple

from chalicelib.payments.captures import Captures
from chalicelib.payments.facts import UNKNOWN, Facts, Fields, reported, things

# Milliseconds by which a refund can be said to be made after an event that shows it.
CLOCK_SKEW = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """A single refund, in minor units. ``made_at`` is by the object's own clock, where it has one.

    One that only a running total shows is ``is_unnamed``: its id is that of its charge and a number.
    ``is_notifiable`` says whether an event shows it as one refund; ``is_undone`` that a later total does
    not hold it any more. ``is_expired``: it let go what was never captured, its provider says; a running
    total can hold it all the same. ``can_be_release``: its provider also calls so what was held and is
    let go; one of these ``waits`` until its charge has captured that much, as far as is known.
    ``dispute`` is the dispute whose money it took: it is counted there.
    """

    id: str
    charge: str
    amount: int
    made_at: int | None = None
    pending_at: int | None = None
    succeeded_at: int | None = None
    failed_at: int | None = None
    is_reversal: bool = False
    is_unnamed: bool = False
    is_foreign: bool = False
    is_notifiable: bool = True
    is_undone: bool = False
    is_release: bool = False
    is_expired: bool = False
    can_be_release: bool = False
    waits: bool = False
    dispute: str | None = None

    @property
    def has_succeeded(self) -> bool:
        """Whether it took money of this payment, at least for a time."""
        is_of_captured = not (self.is_release or self.is_expired or self.waits)
        return self.succeeded_at is not None and is_of_captured

    @property
    def stands(self) -> bool:
        """Whether its money is gone, be it for a dispute."""
        return self.has_succeeded and self.failed_at is None and not self.is_undone and not self.is_foreign

    @property
    def counts(self) -> bool:
        return self.stands and self.dispute is None

    @property
    def dated(self) -> int:
        """When it was made as far as is known, else when it was first said to have succeeded."""
        return self.made_at if self.made_at is not None else self.succeeded_at or 0

    def is_made_by(self, at: int) -> bool:
        return self.made_at is None or self.made_at <= at + CLOCK_SKEW

    def has_failed_by(self, at: int) -> bool:
        return self.failed_at is not None and self.failed_at < at


class Total(NamedTuple):
    """What was refunded of a charge in all, as of an instant; ``before`` is ``None`` where it is not said."""

    at: int
    total: int
    before: int | None

    @property
    def step(self) -> int | None:
        """The one refund that it proves, if the total before is known."""
        return None if self.before is None or self.before >= self.total else self.total - self.before


def refunds(facts: Facts, currency: str | None) -> list[Refund]:
    """Every refund that the facts prove: the single ones by id, then those of running totals, in time."""
    charges = dict(things(facts, "charge"))
    single = [_single(refund_id, f, currency) for refund_id, f in things(facts, "refund")]
    captured = [charge for charge, f in charges.items() if f.get("captured")]
    if len(captured) == 1:  # one that names no charge is of the only one
        single = [each if each.charge else replace(each, charge=captured[0]) for each in single]
    named: list[Refund] = []
    unnamed: list[Refund] = []
    for charge in sorted({*charges, *(each.charge for each in single)}):
        f = charges.get(charge, {})
        own = _without_release([each for each in single if each.charge == charge], f)
        explained, beyond = _explained(charge, own, _totals(f, own))
        named += explained
        unnamed += [replace(each, can_be_release=bool(f.get("can_be_release"))) for each in beyond]
    named.sort(key=attrgetter("id"))
    return [*named, *_numbered(unnamed, len(named) + 1)]


def _single(refund_id: str, f: Fields, currency: str | None) -> Refund:
    return Refund(
        id=refund_id,
        charge=f.get("charge", ""),
        amount=reported(f, "amount") or 0,
        made_at=f.get("created_at"),
        pending_at=f.get("pending_at"),
        succeeded_at=f.get("succeeded_at"),
        failed_at=f.get("failed_at"),
        is_reversal=bool(f.get("reversal")),
        is_expired=bool(f.get("expired")),
        is_foreign=(reported(f, "currency") or currency) != currency,
        can_be_release=bool(f.get("can_be_release")),
    )


def _without_release(singles: list[Refund], charge: Fields) -> list[Refund]:
    """Marks what a capture in part let go, which Stripe showed as a refund before API version 2025-03-31."""
    released = reported(charge, "released")
    if not released:
        return singles
    at = charge["released_at"]  # it is made with the capture: a refund made later is a real one
    candidates = [each for each in singles if each.amount == released and each.is_made_by(at)]
    release = min(candidates, key=lambda each: (each.made_at or 0, each.id), default=None)
    return [replace(each, is_release=each is release) for each in singles]


def _numbered(unnamed: Iterable[Refund], first: int) -> Iterator[Refund]:
    """The n-th refund of the payment is named so; what cannot be notified is not counted."""
    number = first
    for each in sorted(unnamed, key=lambda each: (each.succeeded_at, each.amount, each.charge)):
        if each.is_notifiable:
            yield replace(each, id=f"{each.charge}:{number}")
            number += 1
        else:
            yield replace(each, id=f"{each.charge}:earlier")


# ── what running totals prove ───────────────────────────────────────────────────────────────────────


def _totals(charge: Fields, own: list[Refund]) -> list[Total]:
    """In time, each change once: two events can say the same, unless a refund failed between them."""
    reports = sorted(Total(at, t, None if b == UNKNOWN else b) for at, t, b in _reports(charge))
    failures = [each.failed_at for each in own if each.failed_at is not None]
    last: dict[tuple[int, int | None], int] = {}
    changes: list[Total] = []
    for each in reports:
        before = last.get(each[1:])
        if before is None or any(before <= at <= each.at for at in failures):
            changes.append(each)
        last[each[1:]] = each.at
    return changes


def _reports(charge: Fields) -> list[list[int]]:
    found: list[list[int]] = charge.get("refund_totals", [])
    return found


def _explained(charge: str, own: list[Refund], totals: list[Total]) -> tuple[list[Refund], list[Refund]]:
    """The single refunds, and the unnamed ones: what of the totals no single refund explains."""
    step_of = _match(own, totals)
    beyond: list[Refund] = []
    undone: list[Refund] = []
    for number, total in enumerate(totals):
        known = _Known.at(number, totals, own, step_of)
        limit = total.total if total.step is None else total.total - total.step
        before = known.amount - known.of_step
        beyond, gone = _that_fit(beyond, max(0, limit - before))
        undone += gone
        missing = limit - before - sum(each.amount for each in beyond)
        if total.step is None:
            beyond += _unnamed(charge, missing, total.at)
            continue
        # whether a total goes down when a refund fails Stripe does not say: a failed one may be part of it
        beyond += _unnamed(charge, missing - known.failed, total.at, is_notifiable=False)
        if not known.of_step and known.unmatched != total.step:  # several refunds can be one step
            beyond += _unnamed(charge, total.step, total.at)
    shown = {refund_id: totals[number].at for refund_id, number in step_of.items()}
    return [_shown(each, shown.get(each.id)) for each in own], [*beyond, *undone]


def _match(own: list[Refund], totals: list[Total]) -> dict[str, int]:
    """Which total shows which single refund as a step: the place of the total by the refund's id.

    A step is one that had been made, and had not failed, when the step was seen; of several the one made
    last, so that as many as can be are explained.
    """
    step_of: dict[str, int] = {}
    for number in reversed(range(len(totals))):
        at, step = totals[number].at, totals[number].step
        made = [
            each
            for each in own
            if each.amount == step
            and each.id not in step_of
            and not each.is_release
            and each.is_made_by(at)
            and not each.has_failed_by(at)
        ]
        if made:
            by_age = max(made, key=lambda each: ((each.made_at or -1) <= at, each.made_at or -1, each.id))
            step_of[by_age.id] = number
    return step_of


class _Known(NamedTuple):
    """What single refunds explain of a total: in all, of its own step; and how much had failed by then.

    ``unmatched`` is of those since the total before that no step shows.
    """

    amount: int
    of_step: int
    failed: int
    unmatched: int

    @classmethod
    def at(cls, number: int, totals: list[Total], own: list[Refund], step_of: Mapping[str, int]) -> "_Known":
        at, since = totals[number].at, totals[number - 1].at if number else -1
        amount = of_step = failed = unmatched = 0
        for each in own:
            place = step_of.get(each.id)
            is_part = each.is_made_by(at) if place is None else place <= number
            if not is_part or each.is_foreign or each.is_release:
                continue
            if each.has_failed_by(at):
                failed += each.amount
                continue
            amount += each.amount
            of_step += each.amount if place == number else 0
            unmatched += each.amount if place is None and each.dated > since else 0
        return cls(amount, of_step, failed, unmatched)


def _that_fit(unnamed: list[Refund], limit: int) -> tuple[list[Refund], list[Refund]]:
    """Those that a later total still holds, and those that it does not: undone, unheard."""
    excess = sum(each.amount for each in unnamed) - limit
    if excess <= 0:
        return unnamed, []
    exact = [each for each in unnamed if each.amount == excess]
    gone = exact[-1:]
    while sum(each.amount for each in gone) < excess:  # the newest first
        gone.append(next(each for each in reversed(unnamed) if each not in gone))
    return [each for each in unnamed if each not in gone], [replace(each, is_undone=True) for each in gone]


def _unnamed(charge: str, amount: int, at: int, is_notifiable: bool = True) -> list[Refund]:
    if amount <= 0:
        return []
    made = Refund(id="", charge=charge, amount=amount, succeeded_at=at, is_unnamed=True)
    return [replace(made, is_notifiable=is_notifiable)]


def _shown(refund: Refund, at: int | None) -> Refund:
    """A refund that a total shows has succeeded by then, unless it is known to have been pending."""
    is_pending = refund.succeeded_at is None and (refund.failed_at is None or refund.pending_at is not None)
    if at is None or is_pending:
        return refund
    return replace(refund, succeeded_at=min(at, refund.succeeded_at or at))


# ── what was captured bounds it ─────────────────────────────────────────────────────────────────────


def bounded(found: Iterable[Refund], captured: Captures) -> tuple[Refund, ...]:
    """The refunds, those marked that wait for a capture: no more is refunded of a charge than it captured."""
    left = {"": captured.total}
    waiting: set[str] = set()
    for each in sorted(found, key=lambda each: (each.dated, each.id)):
        if not each.counts:
            continue
        of_charge = left.setdefault(each.charge, captured.limit(each.charge))
        if each.can_be_release and each.amount > min(of_charge, left[""]):
            waiting.add(each.id)
            continue
        for name in {each.charge, ""}:
            left[name] -= each.amount
    return tuple(replace(each, waits=each.id in waiting) for each in found)

"""Refunds: single ones, and those that only a running total shows.

Three sentences rule all of it; ``docs/states.md`` has them with an example each:

1. A refund counts from when it succeeded until it failed, as far as its charge captured that much.
2. A running total proves what the single refunds made by then do not explain; the last total holds.
3. What was held and never captured is let go, not refunded, whatever the provider calls it.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter, itemgetter
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
    captured = [charge for charge, f in charges.items() if f.get("captured")]
    only = captured[0] if len(captured) == 1 else ""  # one that names no charge is of the only one
    by_charge: dict[str, list[Refund]] = {charge: [] for charge in charges}
    for refund_id, f in things(facts, "refund"):
        single = _single(refund_id, f, currency, only)
        by_charge.setdefault(single.charge, []).append(single)
    named: list[Refund] = []
    unnamed: list[Refund] = []
    for charge, singles in sorted(by_charge.items()):
        f = charges.get(charge, {})
        own = _without_release(singles, f)
        explained, beyond = _explained(charge, own, _totals(f, own))
        named += explained
        unnamed += [replace(each, can_be_release=bool(f.get("can_be_release"))) for each in beyond]
    named.sort(key=attrgetter("id"))
    return [*named, *_numbered(unnamed, len(named) + 1)]


def _single(refund_id: str, f: Fields, currency: str | None, charge: str) -> Refund:
    return Refund(
        id=refund_id,
        charge=f.get("charge") or charge,
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
    reports = [Total(at, t, None if b == UNKNOWN else b) for at, t, b in sorted(_reports(charge))]
    failures = sorted(each.failed_at for each in own if each.failed_at is not None)
    last: dict[tuple[int, int | None], int] = {}
    changes: list[Total] = []
    for each in reports:
        before = last.get(each[1:])
        if before is None or bisect_left(failures, before) < bisect_right(failures, each.at):
            changes.append(each)
        last[each[1:]] = each.at
    return changes


def _reports(charge: Fields) -> list[list[int]]:
    found: list[list[int]] = charge.get("refund_totals", [])
    return found


def _explained(charge: str, own: list[Refund], totals: list[Total]) -> tuple[list[Refund], list[Refund]]:
    """The single refunds, and the unnamed ones: what of the totals no single refund explains."""
    step_of = _match(own, totals)
    beyond = _Unnamed(charge)
    for total, known in zip(totals, _known(totals, own, step_of), strict=True):
        limit = total.total if total.step is None else total.total - total.step
        before = known.amount - known.of_step
        beyond.keep(max(0, limit - before))
        missing = limit - before - beyond.amount
        if total.step is None:
            beyond.add(missing, total.at)
            continue
        # whether a total goes down when a refund fails Stripe does not say: a failed one may be part of it
        beyond.add(missing - known.failed, total.at, is_notifiable=False)
        if not known.of_step and known.unmatched != total.step:  # several refunds can be one step
            beyond.add(total.step, total.at)
    shown = {refund_id: totals[number].at for refund_id, number in step_of.items()}
    return [_shown(each, shown.get(each.id)) for each in own], [*beyond.kept, *beyond.undone]


def _match(own: list[Refund], totals: list[Total]) -> dict[str, int]:
    """Which total shows which single refund as a step: the place of the total by the refund's id.

    A step is one that had been made, and had not failed, when the step was seen; of several the one made
    last, so that as many as can be are explained. The last total chooses first.
    """
    by_amount: dict[int, _Candidates] = {}
    for each in own:
        if not each.is_release:
            by_amount.setdefault(each.amount, _Candidates()).add(each)
    step_of: dict[str, int] = {}
    for number in reversed(range(len(totals))):
        at, step = totals[number].at, totals[number].step
        found = by_amount[step].take(at) if step in by_amount else None
        if found:
            step_of[found] = number
    return step_of


class _Candidates:
    """Refunds of one amount, for totals that are gone through from the last to the first."""

    def __init__(self) -> None:
        self._ready: list[tuple[int, str]] = []  # when it was made, and its id; sorted
        self._failed: list[tuple[int, int, str]] = []  # the same with when it failed before; sorted

    def add(self, refund: Refund) -> None:
        made = refund.made_at or -1
        if refund.failed_at is None:
            insort(self._ready, (made, refund.id))
        else:
            insort(self._failed, (refund.failed_at, made, refund.id))

    def take(self, at: int) -> str | None:
        """The one made last by then; a clock may be ahead of another."""
        while self._failed and self._failed[-1][0] >= at:  # it had not failed yet
            insort(self._ready, self._failed.pop()[1:])
        while self._ready and self._ready[-1][0] > at + CLOCK_SKEW:  # nor is it made by any total before
            self._ready.pop()
        if not self._ready:
            return None
        made_by_then = bisect_right(self._ready, at, key=itemgetter(0))
        return self._ready.pop(made_by_then - 1 if made_by_then else -1)[1]


class _Known(NamedTuple):
    """What single refunds explain of a total: in all, of its own step; and how much had failed by then.

    ``unmatched`` is of those since the total before that no step shows.
    """

    amount: int
    of_step: int
    failed: int
    unmatched: int


def _known(totals: list[Total], own: list[Refund], step_of: Mapping[str, int]) -> Iterator[_Known]:
    """For each total, in time: what each refund adds from one total on, and takes away from another on."""
    instants, count = [total.at for total in totals], len(totals)
    changes = [[0, 0, 0] for _ in range(count + 1)]  # of amount, failed, unmatched
    of_step = [0] * count
    for each in own:
        if each.is_foreign or each.is_release:
            continue
        place = step_of.get(each.id)
        made = -1 if each.made_at is None else each.made_at - CLOCK_SKEW
        first = bisect_left(instants, made) if place is None else place
        fails = count if each.failed_at is None else max(first, bisect_right(instants, each.failed_at))
        changes[first][0] += each.amount
        changes[fails][0] -= each.amount
        changes[fails][1] += each.amount
        if place is not None:
            of_step[place] += each.amount if fails > place else 0
            continue
        is_old_from = min(fails, bisect_left(instants, each.dated) + 1)
        if first < is_old_from:
            changes[first][2] += each.amount
            changes[min(count, is_old_from)][2] -= each.amount
    amount = failed = unmatched = 0
    for own_step, change in zip(of_step, changes, strict=False):
        amount, failed, unmatched = amount + change[0], failed + change[1], unmatched + change[2]
        yield _Known(amount, own_step, failed, unmatched)


class _Unnamed:
    """The refunds of a charge that only its running totals show; their sum is kept beside them."""

    def __init__(self, charge: str) -> None:
        self._charge = charge
        self.kept: list[Refund] = []
        self.undone: list[Refund] = []
        self.amount = 0

    def add(self, amount: int, at: int, is_notifiable: bool = True) -> None:
        if amount > 0:
            made = Refund(id="", charge=self._charge, amount=amount, succeeded_at=at, is_unnamed=True)
            self.kept.append(replace(made, is_notifiable=is_notifiable))
            self.amount += amount

    def keep(self, limit: int) -> None:
        """Undo those that a later total does not hold: the one that is just the excess, else the newest."""
        excess = self.amount - limit
        if excess <= 0:
            return
        exact = [number for number, each in enumerate(self.kept) if each.amount == excess]
        gone, left = exact[-1:], 0 if exact else excess
        for number in reversed(range(len(self.kept))):
            if left <= 0:
                break
            gone.append(number)
            left -= self.kept[number].amount
        self.undone += [replace(self.kept[number], is_undone=True) for number in gone]
        undone = set(gone)
        self.kept = [each for number, each in enumerate(self.kept) if number not in undone]
        self.amount = sum(each.amount for each in self.kept)


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

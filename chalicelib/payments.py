"""The payment: facts, how they join, and what follows from them. Pure: no clock, no network, no AWS.

Facts are kept by *thing* (``payment``, ``charge ch_1``, ``refund re_1``, ``dispute dp_1``, ``total ch_1 …``).
Each field of a thing has one rule in ``RULES`` by which two reports of it become one. Every rule is
commutative, associative and idempotent, so ``join`` is too: the order and the number of deliveries
cannot matter. Everything else here is computed from the joined facts alone.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from chalicelib.times import to_iso

Fields = dict[str, Any]  # the rule of a field's name says what its value is
Facts = dict[str, Fields]

# What the provider says of a payment that has no money yet. Where two are of the same instant, the one
# further on in this list holds.
STATES = ("created", "processing", "requires_action", "failed", "authorized", "canceled")
# How a dispute ended. `closed` is an inquiry that never became a dispute over money.
OUTCOMES = ("closed", "won", "lost")
# Milliseconds by which a refund can be said to be made after an event that tells of it.
SKEW = 5_000
OPEN = -1  # in place of one: a dispute that ended can be opened again


# ── join ────────────────────────────────────────────────────────────────────────────────────────────


def _largest(a: Any, b: Any) -> Any:
    return max(a, b)


def _earliest(a: Any, b: Any) -> Any:
    return min(a, b)


def _latest(a: list[Any], b: list[Any]) -> list[Any]:
    """The one with the later instant; of two at the same instant, the greater value."""
    return max(a, b)


def _union(a: list[Any], b: list[Any]) -> list[Any]:
    return sorted({*a, *b})


RULES: Mapping[str, Callable[[Any, Any], Any]] = {
    # [instant, value]: may go back and forth at the provider
    "state": _latest,
    "amount": _latest,
    "customer": _latest,
    "outcome": _latest,
    "settled_by_refund": _latest,
    "returned": _latest,
    # totals that only grow
    "authorized": _largest,
    "captured": _largest,
    "total": _largest,
    "step": _largest,
    # the first instant that proves it
    "created_at": _earliest,
    "authorized_at": _earliest,
    "captured_at": _earliest,
    "canceled_at": _earliest,
    "failed_at": _earliest,
    "succeeded_at": _earliest,
    "opened_at": _earliest,
    "won_at": _earliest,
    "lost_at": _earliest,
    "seen_at": _earliest,
    # the last instant at which it was said
    "updated_at": _largest,
    "last_seen_at": _largest,
    "withdrawn_at": _largest,
    "reinstated_at": _largest,
    # sets and flags
    "currency": _union,
    "account": _union,
    "related": _union,
    "charge": _union,
    "livemode": _largest,
    "reversal": _largest,
    "sightings": _union,
}


def fact(thing: str, **fields: Any) -> Facts:
    """One thing with the fields that are known (those that are ``None`` are not)."""
    return {thing: {name: value for name, value in fields.items() if value is not None}}


def join(a: Facts, b: Facts) -> Facts:
    """Both sets of facts as one. Commutative, associative, idempotent."""
    return {thing: _join_fields(a.get(thing, {}), b.get(thing, {})) for thing in {**a, **b}}


def _join_fields(a: Fields, b: Fields) -> Fields:
    joined = {**a, **b}
    for name in a.keys() & b.keys():
        joined[name] = RULES[name](a[name], b[name])
    return joined


def fold(all_facts: Iterable[Facts]) -> Facts:
    """The facts of a whole payment, from the facts of each of its events in any order."""
    return reduce(join, all_facts, {})


# ── what follows from the facts ─────────────────────────────────────────────────────────────────────


class Refund(NamedTuple):
    """A single refund.

    One that only a charge's running total tells of is ``anonymous``: its id is ``charge:n``, where it is
    the n-th refund of the payment. A ``foreign`` one is in another currency, and cannot be added up.
    One that is not ``told`` was made before what is known; no event tells when, or whether it was one.
    """

    id: str
    amount: int
    succeeded_at: int | None
    failed_at: int | None
    reversal: bool = False
    anonymous: bool = False
    foreign: bool = False
    told: bool = True

    @property
    def counts(self) -> bool:
        return self.succeeded_at is not None and self.failed_at is None and not self.foreign


class Dispute(NamedTuple):
    """A dispute. ``returned`` is what came back of it where that is known; ``ended_at`` when, if it has."""

    id: str
    amount: int
    opened_at: int
    won_at: int | None
    lost_at: int | None
    outcome: str | None
    reinstated: bool
    foreign: bool
    settled_by_refund: bool
    returned: int | None
    ended_at: int | None

    @property
    def counts(self) -> bool:
        return self.outcome in (None, "lost") and not self.reinstated and not self.foreign

    @property
    def held(self) -> int:
        """What of its amount counts against the payment, while it does."""
        return self.amount - (self.returned or 0)

    def took(self, at: int) -> bool:
        """Whether a reversal at that instant can be of its money."""
        return self.outcome in (None, "lost") or at <= (self.ended_at or 0)


@dataclass(frozen=True, slots=True)
class Milestone:
    """A change that matters, reached once. ``at`` is the provider's time; ``amount`` is in minor units.

    ``id`` is the same at every run of a handler: use it as an idempotency key.
    ``object`` is the provider's id of the refund or dispute, where it is known.
    """

    id: str
    type: str
    at: str
    amount: int | None = None
    object: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.id, "type": self.type, "at": self.at}


@dataclass(frozen=True, slots=True)
class Payment:
    """What Daybook shows of a payment. Amounts are integers in the currency's minor unit."""

    id: str
    provider: str
    status: str
    livemode: bool | None
    account: str | None
    currency: str | None
    amount: int
    authorized: int
    captured: int
    refunded: int
    disputed: int
    net: int
    consistent: bool
    customer: str | None
    related: dict[str, list[str]]
    created_at: str
    updated_at: str
    milestones: tuple[Milestone, ...]

    def to_dict(self) -> dict[str, Any]:
        """The payment as JSON shows it, without its events."""
        shown = {name: getattr(self, name) for name in self.__slots__}
        return {**shown, "milestones": [milestone.to_dict() for milestone in self.milestones]}


def _things(facts: Facts, kind: str) -> Iterator[tuple[str, Fields]]:
    prefix = kind + " "
    for thing in sorted(facts):
        if thing.startswith(prefix):
            yield thing.removeprefix(prefix), facts[thing]


def _currency(facts: Facts) -> str | None:
    """The payment's own currency: what was charged decides, then what was refunded or disputed."""
    for kind in ("payment", "charge ", "refund ", "dispute "):
        seen: set[str] = {
            code for thing in facts if thing.startswith(kind) for code in facts[thing].get("currency", ())
        }
        if seen:
            return min(seen)
    return None


def _in_currency(fields: Fields, currency: str | None) -> bool:
    """Amounts in another currency cannot be added up; they make the payment inconsistent instead."""
    return bool(currency in fields.get("currency", [currency]))


def _captured(facts: Facts, currency: str | None) -> int:
    """The larger of what the payment says it received and of what its charges captured together."""
    payment = facts.get("payment", {})
    received: int = payment.get("captured", 0) if _in_currency(payment, currency) else 0
    charges: int = sum(f.get("captured", 0) for _, f in _things(facts, "charge") if _in_currency(f, currency))
    return max(received, charges)


def _authorized(facts: Facts, captured: int) -> int:
    held: list[int] = [f.get("authorized", 0) for _, f in _things(facts, "charge")]
    return max(int(facts.get("payment", {}).get("authorized", 0)), captured, *held)


def _amount(facts: Facts, authorized: int) -> int:
    payment = facts.get("payment", {})
    if "amount" in payment:
        return int(payment["amount"][1])
    charges: list[int] = [f["amount"][1] for _, f in _things(facts, "charge") if "amount" in f]
    return max([authorized, *charges])


def _state(facts: Facts) -> str:
    return STATES[facts.get("payment", {}).get("state", [0, 0])[1]]


def refunds(facts: Facts) -> list[Refund]:
    """Every refund that the facts prove: single ones, and what running totals tell beyond those.

    A charge's ``amount_refunded`` is a running total. With the total before it, it proves one refund, a
    *step*, which is the same refund as a single one of that amount. With or without, it proves that the
    single refunds and steps known so far, and something more where they fall short, make up that total.
    A refund that failed before a total was seen is not part of that total, nor is one made after it.
    """
    currency = _currency(facts)
    if not _captured(facts, currency) and _state(facts) == "canceled":
        return []  # an authorization that is let go: the provider calls that a refund, no money moved
    single = dict(_things(facts, "refund"))
    totals = [f for _, f in _things(facts, "total")]
    covered, steps = _match_steps([f for f in totals if "step" in f], single)
    found = [
        Refund(
            refund_id,
            f["amount"][1] if "amount" in f else 0,
            min(filter(None, (f.get("succeeded_at"), covered.get(refund_id))), default=None),
            f.get("failed_at"),
            bool(f.get("reversal")),
            foreign=not _in_currency(f, currency),
        )
        for refund_id, f in single.items()
    ]
    unexplained = _unexplained([f for f in totals if "step" not in f], found, steps, single)
    unnamed = sorted([*steps, *unexplained], key=attrgetter("succeeded_at", "amount", "id"))
    numbers = range(len(found) + 1, len(found) + len(unnamed) + 1)
    named = [r._replace(id=f"{r.id}:{n}") for n, r in zip(numbers, unnamed, strict=True)]
    return [*found, *named, *_made_before([f for f in totals if "step" in f], found, unnamed, single)]


def _of_charge(refund: Fields, charge: str) -> bool:
    return charge in refund.get("charge", [charge])


def _match_steps(steps: list[Fields], single: dict[str, Fields]) -> tuple[dict[str, int], list[Refund]]:
    """Which single refund each step is (id to instant), and the steps that no single refund explains.

    A step is one that had been made, and had not failed, when the step was seen; of several the one made
    last, so that as many as can be are explained. The others carry their charge's id until they are numbered.
    """
    covered: dict[str, int] = {}
    alone: list[Refund] = []
    seen = [(at, step["total"], step) for step in steps for at in _apart(step, single)]
    for at, _, step in sorted(seen, key=itemgetter(0, 1), reverse=True):
        [charge] = step["charge"]
        made = {
            refund_id: f.get("created_at", -1)
            for refund_id, f in single.items()
            if refund_id not in covered
            and _is_made_by(f, charge, at)
            and f.get("failed_at", at) >= at
            and f.get("amount", [0, 0])[1] == step["step"]
        }
        if made:
            covered[max(made, key=lambda refund_id: (made[refund_id] <= at, made[refund_id], refund_id))] = at
        else:
            alone.append(Refund(charge, step["step"], at, None, anonymous=True))
    return covered, alone


def _apart(step: Fields, single: dict[str, Fields]) -> Iterator[int]:
    """When that total was reached: again only where a refund of the charge failed in between."""
    [charge] = step["charge"]
    failed = [f["failed_at"] for f in single.values() if "failed_at" in f and _of_charge(f, charge)]
    before = None
    for at in step["sightings"]:
        if before is None or any(before <= failed_at <= at for failed_at in failed):
            yield at
        before = at


def _is_made_by(refund: Fields, charge: str, at: int) -> bool:
    """Whether that single refund of the charge was made by that instant, as far as clocks can be trusted."""
    return _of_charge(refund, charge) and bool(refund.get("created_at", at) <= at + SKEW)


def _made_by(at: int, found: list[Refund], charge: str, single: dict[str, Fields]) -> list[Refund]:
    """The single refunds of the charge that were made by that instant, in the payment's currency."""
    return [r for r in found if not r.foreign and _is_made_by(single[r.id], charge, at)]


def _made_before(
    totals: list[Fields], found: list[Refund], unnamed: list[Refund], single: dict[str, Fields]
) -> Iterator[Refund]:
    """What totals of known step tell of refunds made before the first one that is known.

    Those that failed are taken as part of the total: whether it goes down again Stripe does not say.
    """
    most: dict[str, tuple[int, int]] = {}  # by charge: how much is missing at most, and when
    for f in totals:
        [charge] = f["charge"]
        for at in f["sightings"]:
            known = sum(r.amount for r in _made_by(at, found, charge, single))
            known += sum(r.amount for r in unnamed if r.id == charge and (r.succeeded_at or 0) <= at)
            if f["total"] - known > most.get(charge, (0, at))[0]:
                most[charge] = f["total"] - known, at
    for charge, (missing, at) in most.items():
        yield Refund(f"{charge}:earlier", missing, at, None, anonymous=True, told=False)


def _unexplained(
    totals: list[Fields],
    found: list[Refund],
    steps: list[Refund],
    single: dict[str, Fields],
) -> Iterator[Refund]:
    """What running totals of unknown step tell beyond the refunds that are known."""
    told: dict[str, int] = {}
    for f in sorted(totals, key=itemgetter("charge", "total")):
        [charge] = f["charge"]
        at = f["last_seen_at"]
        made = _made_by(at, found, charge, single)
        known = sum(r.amount for r in made if r.failed_at is None or r.failed_at >= at)
        known += sum(step.amount for step in steps if step.id == charge)
        missing = f["total"] - known - told.get(charge, 0)
        if missing > 0:
            told[charge] = told.get(charge, 0) + missing
            yield Refund(charge, missing, f["seen_at"], None, anonymous=True)


def disputes(facts: Facts) -> list[Dispute]:
    """Every dispute. Money that was given back no longer counts against the payment."""
    currency = _currency(facts)
    return [_dispute(dispute_id, f, currency) for dispute_id, f in _things(facts, "dispute")]


def _dispute(dispute_id: str, f: Fields, currency: str | None) -> Dispute:
    amount = f["amount"][1] if "amount" in f else 0
    told_at, rank = f.get("outcome", [0, OPEN])
    returned = f["returned"][1] if "returned" in f else None
    came_back = f.get("reinstated_at", -1) >= max(f.get("withdrawn_at", 0), f.get("lost_at", 0))
    return Dispute(
        dispute_id,
        amount,
        f["opened_at"],
        f.get("won_at"),
        f.get("lost_at"),
        _ended(rank),
        came_back and (returned is None or returned >= amount),
        not _in_currency(f, currency),
        bool(f.get("settled_by_refund", [0, False])[1]),
        min(returned, amount) if returned is not None and came_back else None,
        None if rank == OPEN else told_at,
    )


def outcome_at(instant: int, outcome: str | None) -> list[int]:
    """The fact that a dispute has that outcome, one of ``OUTCOMES``, or is open, as of an instant."""
    return [instant, OUTCOMES.index(outcome) if outcome else OPEN]


def _ended(rank: int) -> str | None:
    return None if rank == OPEN else OUTCOMES[rank]


def _refunded(found: Iterable[Refund], disputed: Iterable[Dispute]) -> int:
    """A reversal takes the money of a dispute, whose outcome says whose it is: it is not counted twice."""
    counting = [refund for refund in found if refund.counts]
    reversed_ = [refund for refund in counting if refund.reversal]
    took = [d for d in disputed if any(d.took(refund.succeeded_at or 0) for refund in reversed_)]
    plain = sum(refund.amount for refund in counting if not refund.reversal)
    return plain + max(0, sum(refund.amount for refund in reversed_) - sum(d.amount for d in took))


def _settled(found: Iterable[Refund], counting: Iterable[Dispute]) -> int:
    """What was refunded since a dispute began, where that is how the provider settles it: it counts once."""
    by_refund = [dispute for dispute in counting if dispute.settled_by_refund]
    since = min((dispute.opened_at for dispute in by_refund), default=0)
    plain = (r.amount for r in found if r.counts and not r.reversal and (r.succeeded_at or 0) >= since)
    return min(sum(plain), sum(dispute.amount for dispute in by_refund))


def _status(captured: int, refunded: int, outcomes: set[tuple[str | None, bool]], state: str) -> str:
    if any(outcome is None for outcome, _ in outcomes):
        return "disputed"
    if ("lost", False) in outcomes:
        return "charged_back"
    if refunded >= captured > 0:
        return "refunded"
    if refunded > 0:
        return "partially_refunded"
    return "succeeded" if captured > 0 else state


def project(subject: str, facts: Facts) -> Payment:
    """The payment that the facts prove. ``subject`` is ``provider:id``."""
    payment = facts.get("payment", {})
    currency = _currency(facts)
    captured, refunded, disputed = _sums(facts)
    authorized = _authorized(facts, captured)
    currencies = {code for fields in facts.values() for code in fields.get("currency", ())}
    outcomes = {(dispute.outcome, dispute.reinstated) for dispute in disputes(facts)}
    return Payment(
        id=subject,
        provider=subject.partition(":")[0],
        status=_status(captured, refunded, outcomes, _state(facts)),
        livemode=payment.get("livemode"),
        account=min(payment.get("account", ()), default=None),
        currency=currency,
        amount=_amount(facts, authorized),
        authorized=authorized,
        captured=captured,
        refunded=refunded,
        disputed=disputed,
        net=captured - refunded - disputed,
        consistent=refunded + disputed <= captured and len(currencies) <= 1,
        customer=payment.get("customer", (0, None))[1],
        related=_related(facts),
        created_at=to_iso(payment.get("created_at", 0)),
        updated_at=to_iso(payment.get("updated_at", 0)),
        milestones=tuple(milestones(subject, facts)),
    )


def _related(facts: Facts) -> dict[str, list[str]]:
    related: dict[str, list[str]] = {}
    for name in facts.get("payment", {}).get("related", ()):
        kind, _, object_id = name.partition(" ")
        related.setdefault(kind, []).append(object_id)
    return related


# ── milestones ──────────────────────────────────────────────────────────────────────────────────────

MILESTONES = (
    "payment.authorized",
    "payment.failed",
    "payment.canceled",
    "payment.succeeded",
    "payment.refunded",
    "refund.failed",
    "dispute.opened",
    "dispute.won",
    "dispute.lost",
)

ONCE = {
    "payment.authorized": "authorized_at",
    "payment.failed": "failed_at",
    "payment.canceled": "canceled_at",
    "payment.succeeded": "captured_at",
}


class _Reached(NamedTuple):
    at: int
    type: str
    object: str | None = None
    amount: int | None = None
    overtaken: bool = False

    @property
    def name(self) -> str:
        return self.type + (f"/{self.object}" if self.object else "")

    def milestone(self, subject: str) -> Milestone:
        return Milestone(f"{subject}/{self.name}", self.type, to_iso(self.at), self.amount, self.object)


def _reached(facts: Facts) -> list[_Reached]:
    found = [*_once(facts), *_of_refunds(facts), *_of_disputes(facts)]
    return sorted(found, key=_order)


def _order(reached: _Reached) -> tuple[int, int, str]:
    return reached.at, MILESTONES.index(reached.type), reached.object or ""


def _once(facts: Facts) -> Iterator[_Reached]:
    payment = facts.get("payment", {})
    captured = _captured(facts, _currency(facts))
    for type_, field in ONCE.items():
        if field not in payment or (type_ == "payment.succeeded" and not captured):
            continue
        if type_ == "payment.succeeded":
            yield _Reached(payment[field], type_, None, captured)
            continue
        overtaken = captured > 0 or f"payment.{_state(facts)}" != type_
        yield _Reached(payment[field], type_, overtaken=overtaken)


def _of_refunds(facts: Facts) -> Iterator[_Reached]:
    for refund in (each for each in refunds(facts) if each.told):
        failed = refund.failed_at is not None
        if refund.succeeded_at is not None:
            yield _Reached(refund.succeeded_at, "payment.refunded", refund.id, refund.amount, failed)
        if refund.failed_at is not None:
            yield _Reached(refund.failed_at, "refund.failed", refund.id, refund.amount)


def _of_disputes(facts: Facts) -> Iterator[_Reached]:
    for d in disputes(facts):
        yield _Reached(d.opened_at, "dispute.opened", d.id, d.amount, d.outcome is not None)
        if d.won_at is not None:
            yield _Reached(d.won_at, "dispute.won", d.id, d.amount, d.outcome != "won")
        if d.lost_at is not None:
            yield _Reached(d.lost_at, "dispute.lost", d.id, d.amount, d.outcome != "lost")


def milestones(subject: str, facts: Facts) -> list[Milestone]:
    """All that the payment has reached, in the provider's time."""
    return [reached.milestone(subject) for reached in _reached(facts)]


MONEY = ("captured", "refunded", "disputed")


class Change(NamedTuple):
    """What new facts make of a payment: the milestones to be told, and by how much its sums grew.

    ``passed_over`` names those that were reached and not told, since they were overtaken when first learnt:
    they are told if they come to hold after all. ``moved`` is in minor units, by the sum's name; what did
    not move is not in it.
    """

    milestones: tuple[Milestone, ...]
    passed_over: tuple[str, ...]
    currency: str | None
    moved: dict[str, int]


def change(subject: str, before: Facts, after: Facts, passed_over: Iterable[str] = ()) -> Change:
    """From ``before``, for which ``passed_over`` was kept, to ``after``."""
    told = {r.name for r in _reached(before)} - {*passed_over}
    new = [r for r in _reached(after) if r.type != "payment.refunded" and r.name not in told]
    failed = {name for name in passed_over if name.startswith("payment.refunded/")}  # for good
    new += _new_refunds(before, after, failed)
    heard = sorted((r for r in new if not r.overtaken), key=_order)
    steps = zip(MONEY, _sums(before), _sums(after), strict=True)
    moved = {name: then - now for name, now, then in steps if then != now}
    return Change(
        tuple(r.milestone(subject) for r in heard),
        tuple(sorted(failed | {r.name for r in new if r.overtaken})),
        _currency(after),
        moved,
    )


def _sums(facts: Facts) -> tuple[int, int, int]:
    """Captured, refunded, disputed."""
    found, disputed_at_all = refunds(facts), [dispute for dispute in disputes(facts) if not dispute.foreign]
    counting = [dispute for dispute in disputed_at_all if dispute.counts]
    refunded = _refunded(found, disputed_at_all)
    disputed = sum(dispute.held for dispute in counting)
    return _captured(facts, _currency(facts)), refunded, disputed - _settled(found, counting)


def _new_refunds(before: Facts, after: Facts, failed: set[str]) -> Iterator[_Reached]:
    """The refunds that are new: as many of an amount as there are more of, their sum at most what it grew by.

    So a refund that is first told by a running total and then by itself, or the other way round, is told
    once. An anonymous one is told as the payment's n-th refund, n being new with it. ``failed`` names those
    that never were told, since they had failed when first learnt.
    """

    def tellable(found: list[Refund]) -> list[Refund]:
        succeeded = (r for r in found if r.told and r.succeeded_at is not None)
        return [r for r in succeeded if f"payment.refunded/{r.id}" not in failed]

    known = refunds(after)
    old, now = tellable(refunds(before)), tellable(known)
    more = Counter(r.amount for r in now) - Counter(r.amount for r in old)
    growth = sum(r.amount for r in now) - sum(r.amount for r in old)
    named = {r.id for r in old if not r.anonymous}
    seen = {(r.amount, r.succeeded_at) for r in old if r.anonymous}
    number = sum(r.told for r in known)
    for r in sorted(now, key=lambda r: ((r.amount, r.succeeded_at) in seen, r.anonymous, r)):
        if r.id in named or not more[r.amount] or r.amount > growth:
            continue
        more[r.amount] -= 1
        growth -= r.amount
        if r.anonymous:
            r = r._replace(id=f"{r.id.rpartition(':')[0]}:{number}")
            number -= 1
        overtaken = r.failed_at is not None
        yield _Reached(r.succeeded_at or 0, "payment.refunded", r.id, r.amount, overtaken)

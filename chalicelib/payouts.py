"""A payout: money that left the provider's balance for the bank, and what it is made of.

https://docs.stripe.com/api/payouts/object; at PayPal a transfer to the bank.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from chalicelib.joining import (
    Facts,
    Fields,
    Rules,
    earliest,
    fact,
    fold_by,
    join_by,
    largest,
    reported,
    union,
)
from chalicelib.payments import Milestone, Movement, beside_balance
from chalicelib.times import to_iso

MILESTONES = ("payout.paid", "payout.failed")
# Each can follow those before it: one that was paid can still be sent back by the bank.
# https://docs.stripe.com/payouts#payout-failures
STATUSES = ("pending", "in_transit", "paid", "canceled", "failed")
RETURNED = ("canceled", "failed")  # the money is back in the balance
KIND = "payout"

RULES: Rules = {
    # [instant, value, …]: the later report holds
    "amount": largest,  # [instant, minor units, ISO 4217 code]
    "arrival_date": largest,  # [instant, day]
    "trace_id": largest,
    "method": largest,
    "failure": largest,
    "listed": largest,  # [instant, [kind, count, gross, fee, net] of each]
    "entry": largest,  # of the balance: payments/balance.py
    "status": largest,  # place in STATUSES
    "created_at": earliest,
    "paid_at": earliest,
    "canceled_at": earliest,
    "failed_at": earliest,
    "updated_at": largest,
    # what never changes, and flags: 0 or 1
    "livemode": largest,
    "automatic": largest,
    "account": union,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    """As everybody sees it. Amounts are integers in the currency's minor unit.

    ``arrival_date`` is the day by which the bank should have it, ``trace_id`` the bank's own reference.
    ``transactions`` is what it is made of: how many movements of the balance, their gross, fee and net, and
    that by the provider's kinds; ``None`` while that is not known, as it never is of what was sent by hand.
    ``consistent`` is false where they do not add up to it.
    """

    id: str
    provider: str
    status: str
    livemode: bool | None
    account: str | None
    currency: str | None
    amount: int
    automatic: bool | None
    method: str | None
    arrival_date: str | None
    trace_id: str | None
    failure: str | None
    transactions: dict[str, Any] | None
    consistent: bool
    created_at: str
    updated_at: str
    milestones: tuple[Milestone, ...]

    customer: None = None
    reference: None = None

    def record(self) -> dict[str, Any]:
        """As JSON shows it."""
        return {**asdict(self), "milestones": [each.to_dict() for each in self.milestones]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What new facts make of it. ``look_at`` is from when on the provider can say what it is made of."""

    facts: Facts
    after: Payout
    milestones: tuple[Milestone, ...]
    superseded: tuple[str, ...] = ()
    moved: Mapping[str, int] = field(default_factory=dict)
    currency: str | None = None
    look_at: int | None = None


def join(a: Facts, b: Facts) -> Facts:
    return join_by(RULES, a, b)


def fold(all_facts: Iterable[Facts]) -> Facts:
    return fold_by(RULES, all_facts)


def stated(at: int, status: str, **fields: Any) -> Facts:
    """The fact that it has that status, one of ``STATUSES``, as of an instant; with what else is known."""
    reached = {f"{status}_at": at} if status in ("paid", *RETURNED) else {}
    return fact(KIND, status=STATUSES.index(status), updated_at=at, **reached, **fields)


def project(subject: str, facts: Facts) -> Payout:
    """The payout that the facts prove."""
    own = facts.get(KIND, {})
    _, amount, currency = own.get("amount", (0, 0, None))
    transactions = _transactions(own)
    return Payout(
        id=subject,
        provider=subject.partition(":")[0],
        status=STATUSES[own.get("status", 0)],
        livemode=own.get("livemode"),
        account=min(own.get("account", ()), default=None),
        currency=currency,
        amount=amount,
        automatic=bool(own["automatic"]) if "automatic" in own else None,
        method=reported(own, "method"),
        arrival_date=reported(own, "arrival_date"),
        trace_id=reported(own, "trace_id"),
        failure=reported(own, "failure"),
        transactions=transactions,
        consistent=transactions is None or transactions["net"] == amount,
        created_at=to_iso(own.get("created_at", 0)),
        updated_at=to_iso(own.get("updated_at", 0)),
        milestones=_milestones(subject, own, amount),
    )


def _transactions(own: Fields) -> dict[str, Any] | None:
    listed = reported(own, "listed")
    if listed is None:
        return None
    names = ("count", "gross", "fee", "net")
    by_kind = {kind: dict(zip(names, figures, strict=True)) for kind, *figures in listed}
    totals = {name: sum(each[name] for each in by_kind.values()) for name in names}
    return {**totals, "by_kind": by_kind}


def _milestones(subject: str, own: Fields, amount: int) -> tuple[Milestone, ...]:
    found = sorted((own[f"{type_.partition('.')[2]}_at"], type_) for type_ in _reached(own))
    return tuple(
        Milestone(id=f"{subject}/{type_}", type=type_, at=to_iso(at), amount=amount) for at, type_ in found
    )


def _reached(own: Fields) -> list[str]:
    return [type_ for type_ in MILESTONES if f"{type_.partition('.')[2]}_at" in own]


def change(subject: str, before: Facts, after: Facts, superseded: Iterable[str] = ()) -> Change:
    """From the facts ``before`` to those ``after``. That it was paid is no news once it is back."""
    own = after.get(KIND, {})
    shown = project(subject, after)
    known = {*_reached(before.get(KIND, {})), *superseded}
    new = [each for each in shown.milestones if each.type not in known]
    is_back = shown.status in RETURNED
    passed = {each.type for each in new if each.type == "payout.paid" and is_back}
    is_to_be_listed = "paid_at" in own and shown.automatic is True and "listed" not in own
    return Change(
        facts=after,
        after=shown,
        milestones=tuple(each for each in new if each.type not in passed),
        superseded=tuple(sorted({*superseded, *passed})),
        look_at=own["paid_at"] if is_to_be_listed else None,
    )


def movements(subject: str, facts: Facts) -> list[Movement]:
    """The money that left for the bank, and that came back, in time."""
    own, shown = facts.get(KIND, {}), project(subject, facts)
    id_ = subject.rpartition(":")[2].removeprefix("transfer-")
    sent = Movement(
        id="",
        kind=KIND,
        object=id_,
        at=own.get("created_at", 0),
        amount=-shown.amount,
        currency=shown.currency,
    )
    lines = [sent]
    if shown.status in RETURNED:
        back = max(sent.at, own.get(f"{shown.status}_at", 0))
        lines.append(
            Movement(id="", kind=KIND, object=id_, at=back, amount=shown.amount, currency=shown.currency)
        )
    return beside_balance(subject, lines, facts, {}, KIND)

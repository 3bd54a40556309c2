"""What PayPal's events prove of the captures, sales and authorizations that they name.

The object's own status and times count, not the event's type and time alone, which can be behind:
an event that says COMPLETED of what is still pending proves nothing yet.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from chalicelib.events import Event, items, mapping, required_id, safe_id
from chalicelib.payments import Facts, balance_entry, claimed_at, fact, join, labels, outcome_at, state_at
from chalicelib.providers.paypal import breakdowns
from chalicelib.providers.paypal.objects import (
    AUTHORIZATIONS,
    CAPTURES,
    DISPUTES,
    NAME,
    REFUNDS,
    Resource,
    amount_of,
    disputed_transactions,
    instant,
    linked,
    moves_money_unnamed,
    named_dispute,
    refunded_payment,
    resource_of,
    says,
    status_of,
    subscription_of,
)

# dispute_outcome.outcome_code: who keeps the money, by the FAQ's table, whose spelling is FAVOR. Any other
# code is no information.
# https://developer.paypal.com/docs/api/customer-disputes/v1/#definition-dispute_outcome
# https://developer.paypal.com/docs/disputes/faq
OUTCOME_OF = {
    "RESOLVED_BUYER_FAVOUR": "lost",
    "RESOLVED_BUYER_FAVOR": "lost",
    "ACCEPTED": "lost",
    "RESOLVED_SELLER_FAVOUR": "won",
    "RESOLVED_SELLER_FAVOR": "won",
    "CANCELED_BY_BUYER": "won",
    "DENIED": "won",
    "RESOLVED_WITH_PAYOUT": "won",
    "NONE": "closed",
}
# Of a dispute that is open, or open again.
# https://developer.paypal.com/docs/api/customer-disputes/v1/#definition-status
OPEN = ("", "OPEN", "WAITING_FOR_BUYER_RESPONSE", "WAITING_FOR_SELLER_RESPONSE", "UNDER_REVIEW")

BySubject = Iterator[tuple[str, Facts]]


def facts(event: Event) -> Mapping[str, Facts]:
    """What an event proves, by subject. Orders and all else move no money. Raises ``ValueError``."""
    if moves_money_unnamed(event):
        raise ValueError("money of nothing that has an id")
    resource = resource_of(event)
    proved: dict[str, Facts] = {}
    for types, read in READERS:
        if event.type in types:
            for subject, some in read(event, resource):
                proved[subject] = join(proved.get(subject, _common(event)), some)
    return proved


def _common(event: Event) -> Facts:
    at = event.created_at
    account = [event.via] if event.via else None
    return fact("payment", created_at=at, updated_at=at, livemode=event.livemode, account=account)


def _of_capture(event: Event, capture: Resource) -> BySubject:
    amount, currency = amount_of(capture.get("amount"))
    said = says(event.type, capture)
    at = event.created_at
    is_captured = said == "captured"
    yield (
        event.subject,
        fact(
            "payment",
            priced=[int(is_captured), at, amount, currency],
            authorized=amount if is_captured else None,
            captured=[[amount, at]] if is_captured else None,
            failed_at=at if said == "failed" else None,
            state=None if is_captured else state_at(at, said),
            customer=_payer(event),
            labels=_labels(event, capture),
            related=_related(capture),
        ),
    )
    moved = breakdowns.of_capture(capture, required_id(capture.get("id"))) if is_captured else None
    if moved:
        yield event.subject, balance_entry(moved.of, at, moved)


def _payer(event: Event) -> list[int | str] | None:
    """Where it says who pays: captures do not, v1's sales of a subscription and others do."""
    return [event.created_at, event.customer] if event.customer else None


def _labels(event: Event, resource: Resource) -> dict[str, list[int | str]] | None:
    """v2's fields, or what v1 calls them: https://developer.paypal.com/docs/api/payments/v1/#definition-sale"""
    return labels(
        event.created_at,
        custom_id=resource.get("custom_id") or resource.get("custom"),
        invoice_id=resource.get("invoice_id") or resource.get("invoice_number"),
    )


def _of_authorization(event: Event, authorization: Resource) -> BySubject:
    amount, currency = amount_of(authorization.get("amount"))
    said = says(event.type, authorization)
    at = event.created_at
    yield (
        event.subject,
        fact(
            "payment",
            priced=[0, at, amount, currency],
            authorized=amount if said in ("authorized", "canceled") else None,
            authorized_at=at if said == "authorized" else None,
            failed_at=at if said == "failed" else None,
            canceled_at=at if said == "canceled" else None,
            state=state_at(at, said),
            customer=_payer(event),
            labels=_labels(event, authorization),
            related=_related(authorization),
        ),
    )


def _of_refund(event: Event, refund: Resource) -> BySubject:
    """A refund is dated by its own clock, as a dispute is: so it can be told which came first."""
    amount, currency = amount_of(refund.get("amount"))
    refund_id = required_id(refund.get("id"))
    said = says(event.type, refund)
    at = event.created_at
    made_at = min(at, instant(refund.get("create_time"), at))
    payment = refunded_payment(refund)
    yield (
        event.subject,
        fact(
            f"refund {refund_id}",
            amount=[at, amount],
            currency=[at, currency],
            charge=payment,
            created_at=made_at,
            succeeded_at=at if said in ("succeeded", "reversed") else None,
            failed_at=at if said == "failed" else None,
            reversal=1 if REFUNDS[event.type] == "reversed" else None,
        ),
    )
    yield event.subject, fact("payment", related=[f"refund {refund_id}"])
    moved = breakdowns.of_refund(refund, refund_id) if said in ("succeeded", "reversed") else None
    if moved:
        yield event.subject, balance_entry(refund_id, at, moved)
    if payment and said in ("succeeded", "reversed"):
        yield event.subject, _refund_total(payment, refund, made_at, amount)


def _refund_total(payment: str, refund: Resource, made_at: int, amount: int) -> Facts:
    """What was refunded of the capture to date, this refund included: more than its known events say."""
    payable = mapping(refund.get("seller_payable_breakdown"))
    try:
        total, _ = amount_of(payable.get("total_refunded_amount") or refund.get("total_refunded_amount"))
    except ValueError:
        return {}
    before = total - amount
    return fact(f"charge {payment}", refund_totals=[[made_at, total, before]]) if before >= 0 else {}


# ── disputes ────────────────────────────────────────────────────────────────────────────────────────


def _of_dispute(event: Event, dispute: Resource) -> BySubject:
    """Of each capture in the case its part; all that one report says of one capture is one value."""
    dispute_id = required_id(named_dispute(dispute))
    resolution = mapping(dispute.get("dispute_outcome"))
    code = str(resolution.get("outcome_code"))
    outcome = OUTCOME_OF.get(code) if _is_resolved(event, dispute) else None
    at = instant(dispute.get("update_time"), event.created_at)
    created_at = min(at, event.created_at, instant(dispute.get("create_time"), at))
    claims = _parts(dispute, dispute.get("dispute_amount"))
    lost_amount = resolution.get("amount_refunded") if outcome == "lost" else None
    losses = _parts(dispute, lost_amount) if lost_amount else {}
    for payment, (amount, currency, is_whole_case) in claims.items():
        says_how = outcome is not None or _is_open(event, dispute)
        lost = [at, losses[payment].amount] if payment in losses else None
        subject = f"{NAME}:{payment}" if payment else event.subject
        yield (
            subject,
            fact(
                f"dispute {dispute_id}",
                claimed=claimed_at(at, outcome, amount),
                currency=[at, currency],
                created_at=created_at,
                disputed_at=created_at,
                taken_by_reversal=1,
                is_whole_case=1 if is_whole_case else None,
                outcome=outcome_at(at, outcome) if says_how else None,
                lost=lost,
                won_at=event.created_at if outcome == "won" else None,
                lost_at=event.created_at if outcome == "lost" else None,
                closed_at=event.created_at if outcome == "closed" else None,
            ),
        )
        yield subject, fact("payment", related=[f"dispute {dispute_id}"])


def _is_resolved(event: Event, dispute: Resource) -> bool:
    return status_of(dispute) == "RESOLVED" or event.type == "CUSTOMER.DISPUTE.RESOLVED"


def _is_open(event: Event, dispute: Resource) -> bool:
    return not _is_resolved(event, dispute) and status_of(dispute) in OPEN


class _Part(NamedTuple):
    """What of an amount of a case falls on one of its captures; all, where nothing says how it splits."""

    amount: int
    currency: str
    is_whole_case: bool


def _parts(dispute: Resource, whole: object) -> dict[str | None, _Part]:
    """How an amount of the case is spread over its captures.

    Each in its order takes up to what its items are disputed for, else to its own gross amount; what is left
    over the last. https://developer.paypal.com/docs/api/customer-disputes/v1/#definition-transaction_info
    """
    total, currency = amount_of(whole)
    transactions = disputed_transactions(dispute)
    limits = [_most(each, currency) for each in transactions.values()][:-1]
    if None in limits:
        return {payment: _Part(total, currency, is_whole_case=True) for payment in transactions}
    left, parts = total, []
    for limit in limits:
        parts.append(min(left, limit or 0))
        left -= parts[-1]
    names: Iterable[str | None] = transactions or (None,)
    return {
        payment: _Part(part, currency, is_whole_case=False)
        for payment, part in zip(names, [*parts, left], strict=True)
    }


def _most(transaction: Resource, currency: str) -> int | None:
    """How much of a case can be of one transaction, if it is said in the case's currency."""
    disputed = [each.get("dispute_amount") for each in items(transaction.get("items"))]
    amounts = disputed if disputed and all(disputed) else [transaction.get("gross_amount")]
    if not all(amounts):
        return None
    read = [amount_of(each) for each in amounts]
    return sum(amount for amount, _ in read) if {code for _, code in read} == {currency} else None


READERS: tuple[tuple[Iterable[str], Callable[[Event, Resource], BySubject]], ...] = (
    (CAPTURES, _of_capture),
    (AUTHORIZATIONS, _of_authorization),
    (REFUNDS, _of_refund),
    (DISPUTES, _of_dispute),
)


def _related(resource: Resource) -> list[str]:
    ids = mapping(mapping(resource.get("supplementary_data")).get("related_ids"))
    named: dict[str, Any] = {
        "order": ids.get("order_id") or linked(resource, "orders"),
        "authorization": ids.get("authorization_id") or linked(resource, "authorizations"),
        "payment": resource.get("parent_payment"),
        "subscription": subscription_of(resource),
    }
    return [f"{kind} {object_id}" for kind, value in named.items() if (object_id := safe_id(value))]

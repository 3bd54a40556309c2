"""Stripe's balance: what its transactions prove of payments and payouts, and of what is neither.

No webhook carries them, but those of disputes: they are asked for, each an event of our own making.
https://docs.stripe.com/api/balance_transactions/object
"""

from typing import Any

from chalicelib.events import Event, items, mapping
from chalicelib.made_of import Part
from chalicelib.payments import BalanceEntry, Facts, balance_entry, fact, fold
from chalicelib.providers.stripe.events import subject
from chalicelib.providers.stripe.objects import (
    Object,
    currency_of,
    id_of,
    in_minor_units,
    instant,
    object_of,
)

KEPT = ("id", "object", "amount", "fee", "net", "currency", "exchange_rate", "fee_details", "created", "type")
OF_SOURCE = ("id", "object", "payment_intent", "charge", "amount", "currency", "created", "status", "reason")
PAYMENTS = ("charge", "refund", "dispute")
OF_PAYOUT = ("arrival_date", "automatic", "failure_code", "method", "trace_id")
FEES = ("fee", "network_cost")  # of Stripe, and of the networks where they are billed besides


def entry(event: Event, transaction: Object, of: str) -> Facts:
    """The fact of an entry of the balance; of one that says no amounts, none."""
    id_, amounts = id_of(transaction.get("id")), [transaction.get(name) for name in ("amount", "fee", "net")]
    if id_ is None or not all(type(each) is int for each in amounts):
        return {}
    currency = currency_of(transaction)
    gross, fee = (in_minor_units(int(each or 0), currency) for each in amounts[:2])
    kinds: dict[str, int] = {}
    for each in items(transaction.get("fee_details")):
        kind, size = str(each.get("type")), each.get("amount")
        kinds[kind] = kinds.get(kind, 0) + (in_minor_units(size, currency) if type(size) is int else 0)
    rate = transaction.get("exchange_rate")
    moved = BalanceEntry(currency, gross, fee, gross - fee, None if rate is None else str(rate), kinds, of)
    return balance_entry(id_, instant(transaction.get("created"), event.created_at), moved)


def of_payment(event: Event, transaction: Object) -> Facts:
    """What one proves of the payment that its source is of."""
    source = mapping(transaction.get("source"))
    charge = id_of(source if source.get("object") == "charge" else source.get("charge"))
    of = charge if is_release(transaction) else id_of(source)
    related = [f"charge {charge}"] if charge else None
    told = [entry(event, transaction, str(of)), fact("payment", related=related)]
    if source.get("object") == "dispute":  # that there is one: what it is, its own events say
        told.append(fact(f"dispute {id_of(source)}", charge=charge))
    return fold(told)


def is_release(transaction: Object) -> bool:
    """What a capture in part let go, where that was a refund: it is part of the capture, and no refund."""
    return kind_of(transaction) == "partial_capture_reversal"


def facts(event: Event) -> Facts:
    """What one proves of a payout, or by itself."""
    transaction = object_of(event.payload)
    if transaction.get("object") != "balance_transaction":
        return {}
    source = mapping(transaction.get("source"))
    if source.get("object") in PAYMENTS:
        return {}
    moved = entry(event, transaction, event.subject.rpartition(":")[2])
    if source.get("object") == "payout":
        return moved
    account = [event.of_account] if event.of_account else None
    is_fee = int(kind_of(transaction) in FEES)
    return {**moved, **fact("adjustment", is_fee=is_fee, livemode=event.livemode, account=account)}


def kind_of(transaction: Object) -> str:
    """https://docs.stripe.com/reports/reporting-categories"""
    return str(transaction.get("reporting_category") or transaction.get("type"))


def kept(transaction: Object) -> dict[str, Any]:
    """Of a transaction with its source, as listed, what is kept: its source is a whole object else."""
    source = mapping(transaction.get("source"))
    own = {name: transaction.get(name) for name in KEPT}
    names = (*OF_SOURCE, *OF_PAYOUT) if source.get("object") == "payout" else OF_SOURCE
    of = {name: source[name] for name in names if name in source}
    return {**own, "reporting_category": kind_of(transaction), "source": of or None}


def part(transaction: Object, payout: str) -> Part:
    """It as a part of that payout. Raises ``ValueError``."""
    source = mapping(transaction.get("source"))
    currency = currency_of(transaction)
    gross, fee, net = (
        in_minor_units(int(transaction.get(name) or 0), currency) for name in ("amount", "fee", "net")
    )
    of = subject({"data": {"object": transaction}}) if source.get("object") in PAYMENTS else None
    return Part(
        id=str(transaction["id"]),
        kind=kind_of(transaction),
        at=instant(transaction.get("created"), 0),
        gross=gross,
        fee=fee,
        net=net,
        object=id_of(source),
        payment=f"{payout.rpartition(':')[0]}:{of}" if of else None,
    )


def is_payout_itself(transaction: Object, payout: str) -> bool:
    """A payout's list has the payout too: https://docs.stripe.com/payouts/reconciliation"""
    return id_of(mapping(transaction.get("source"))) == payout.rpartition(":")[2]

"""The kinds of record that facts are kept in: a payment, a subscription, a payout; and some not shown."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, NamedTuple

from chalicelib import adjustments, invoices, payments, payouts, plans, subscriptions
from chalicelib.joining import Facts
from chalicelib.subscriptions import Terms

PAYMENT, SUBSCRIPTION, INVOICE, PLAN = "payment", "subscription", "invoice", "plan"
PAYOUT, ADJUSTMENT = "payout", "adjustment"
SUBSCRIPTIONS = {"stripe": ("sub_",), "paypal": ("I-",)}  # how their ids begin
Change = payments.Change | subscriptions.Change | invoices.Change | payouts.Change | adjustments.Change


class Kind(NamedTuple):
    """What differs between them. ``entry``: the entry it is kept in, and the thing that has its labels.

    ``change``: what becomes of a record, from its facts before to those after, what was superseded, and
    what a subscription grants.
    ``shown``: all that follows from its facts, by name. ``is_shown``: whether users see it at all.
    """

    entry: str
    join: Callable[[Facts, Facts], Facts]
    fold: Callable[[Iterable[Facts]], Facts]
    change: Callable[[str, Facts, Facts, Iterable[str], Terms], Change]
    shown: Callable[[str, Facts], dict[str, Any]]
    is_shown: bool = True


def _payment_change(
    subject: str, before: Facts, after: Facts, superseded: Iterable[str], terms: Terms
) -> Change:
    return payments.change(subject, payments.books(before), payments.books(after), superseded)


def _payment_shown(subject: str, facts: Facts) -> dict[str, Any]:
    return payments.project(subject, facts).to_dict()


def _subscription_shown(subject: str, facts: Facts) -> dict[str, Any]:
    return asdict(subscriptions.project(subject, facts))


OF_PAYMENT = Kind(PAYMENT, payments.join, payments.fold, _payment_change, _payment_shown)
OF_SUBSCRIPTION = Kind(
    SUBSCRIPTION, subscriptions.join, subscriptions.fold, subscriptions.change, _subscription_shown
)


def _no_news(subject: str, before: Facts, after: Facts, superseded: Iterable[str], terms: Terms) -> Change:
    return invoices.Change(facts=after)


def _invoice_shown(subject: str, facts: Facts) -> dict[str, Any]:
    return dict(facts.get(INVOICE, {}))


def _plan_shown(subject: str, facts: Facts) -> dict[str, Any]:
    return dict(facts.get(PLAN, {}))


OF_INVOICE = Kind(INVOICE, invoices.join, invoices.fold, _no_news, _invoice_shown, is_shown=False)
OF_PLAN = Kind(PLAN, plans.join, plans.fold, _no_news, _plan_shown, is_shown=False)


def _payout_change(
    subject: str, before: Facts, after: Facts, superseded: Iterable[str], terms: Terms
) -> Change:
    return payouts.change(subject, before, after, superseded)


def _payout_shown(subject: str, facts: Facts) -> dict[str, Any]:
    return payouts.project(subject, facts).record()


def _adjustment_change(
    subject: str, before: Facts, after: Facts, superseded: Iterable[str], terms: Terms
) -> Change:
    return adjustments.change(subject, before, after, superseded)


def _adjustment_shown(subject: str, facts: Facts) -> dict[str, Any]:
    return {each.id: asdict(each) for each in adjustments.movements(subject, facts)}


OF_PAYOUT = Kind(PAYOUT, payouts.join, payouts.fold, _payout_change, _payout_shown)
OF_ADJUSTMENT = Kind(
    ADJUSTMENT, adjustments.join, adjustments.fold, _adjustment_change, _adjustment_shown, is_shown=False
)
# By the beginning of the provider's id: no payment's is like it. A transfer is PayPal's to the bank.
BY_ID = {
    "stripe": {"in_": OF_INVOICE, "po_": OF_PAYOUT, "txn_": OF_ADJUSTMENT},
    "paypal": {"P-": OF_PLAN, "transfer-": OF_PAYOUT},
}


def kind_of(subject: str) -> Kind:
    """By the provider's id, the last part of the subject: a schedule of subscriptions is none."""
    provider, _, id_ = subject.partition(":")
    object_id = id_.rpartition(":")[2]
    for beginning, kind in BY_ID.get(provider, {}).items():
        if object_id.startswith(beginning):
            return kind
    is_one = object_id.startswith(SUBSCRIPTIONS.get(provider, ()))
    return OF_SUBSCRIPTION if is_one and not object_id.startswith("sub_sched_") else OF_PAYMENT

"""The kinds of record that facts are kept in: a payment, a subscription, and two that are not shown."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, NamedTuple

from chalicelib import invoices, payments, plans, subscriptions
from chalicelib.joining import Facts
from chalicelib.subscriptions import Terms

PAYMENT, SUBSCRIPTION, INVOICE, PLAN = "payment", "subscription", "invoice", "plan"
SUBSCRIPTIONS = {"stripe": ("sub_",), "paypal": ("I-",)}  # how their ids begin
Change = payments.Change | subscriptions.Change | invoices.Change


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


def kind_of(subject: str) -> Kind:
    """By the provider's id, the last part of the subject: a schedule of subscriptions is none."""
    provider, _, id_ = subject.partition(":")
    object_id = id_.rpartition(":")[2]
    if provider == "stripe" and object_id.startswith("in_"):
        return OF_INVOICE
    if provider == "paypal" and object_id.startswith("P-"):
        return OF_PLAN
    is_one = object_id.startswith(SUBSCRIPTIONS.get(provider, ()))
    return OF_SUBSCRIPTION if is_one and not object_id.startswith("sub_sched_") else OF_PAYMENT

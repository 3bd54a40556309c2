"""The handlers that tests run: a shop's, whatever is in ``chalicelib/handlers.py``."""

import sys

from chalicelib.events import Event
from chalicelib.money import display
from chalicelib.payments import Milestone, Payment
from chalicelib.reactions import on


@on("payment.succeeded")
def ship(payment: Payment, milestone: Milestone) -> None:
    sys.stdout.write(f"ship: {payment.id} is paid, {display(payment.captured, payment.currency or '')}\n")


@on("stripe.customer.subscription.deleted")
def end(event: Event) -> None:
    sys.stdout.write(f"end: {event.subject} has ended\n")

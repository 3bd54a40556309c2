"""Yours: what your business does when something happens to a payment.

A handler is notified of each milestone of a payment once: ``payment.authorized``, ``payment.succeeded``,
``payment.captured`` (once per capture), ``payment.failed``, ``payment.canceled``, ``payment.refunded`` (once
per refund), ``refund.failed``, ``inquiry.opened``, ``inquiry.closed``, ``dispute.opened``, ``dispute.won``,
``dispute.lost``. One that raises is tried again, five times in all, without running again those that
succeeded. Where a process is killed right after a handler has ended, it runs again: use ``milestone.id`` as
the idempotency key of what you do.
"""

import sys

from chalicelib.events import Event
from chalicelib.money import display
from chalicelib.payments import Milestone, Payment
from chalicelib.reactions import on


# Ship the order, send the receipt: here, say so on the terminal (and in the function's log).
@on("payment.succeeded")
def fulfil(payment: Payment, milestone: Milestone) -> None:
    amount = display(payment.captured, payment.currency or "")
    sys.stdout.write(f"fulfil: {payment.id} is paid, {amount}\n")


# Raw events of either provider can be handled too, by type or by the beginning of one and a `*`.
@on("stripe.customer.subscription.deleted")
def end_access(event: Event) -> None:
    sys.stdout.write(f"end_access: {event.subject} has ended\n")

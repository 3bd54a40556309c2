"""Yours: what your business does when something happens to a payment.

A handler is notified of each milestone of a payment once: ``payment.authorized``, ``payment.succeeded``,
``payment.captured`` (once per capture), ``payment.failed``, ``payment.canceled``, ``payment.refunded`` (once
per refund), ``refund.failed``, ``inquiry.opened``, ``inquiry.closed``, ``dispute.opened``, ``dispute.won``,
``dispute.lost``. One that raises is tried again, five times in all, without running again those that
succeeded. Where a process is killed right after a handler has ended, it runs again: use ``milestone.id`` as
the idempotency key of what you do. ``docs/handlers.md`` says the rest, and how to test one in five lines.
"""

import sys

from chalicelib.money import display
from chalicelib.payments import Milestone, Payment
from chalicelib.reactions import on


# Ship the order once it is paid and known which order it is: here, say so on the terminal (and in the log).
@on("payment.succeeded", needs="reference")
def fulfil(payment: Payment, milestone: Milestone) -> None:
    amount = display(payment.captured, payment.currency or "")
    sys.stdout.write(f"fulfil: ship {payment.reference}, {amount} are paid (once: {milestone.id})\n")


# Money went back: the order's own system wants to know how much, and for which refund.
@on("payment.refunded")
def note_refund(payment: Payment, milestone: Milestone) -> None:
    amount = display(milestone.amount or 0, payment.currency or "")
    sys.stdout.write(f"note_refund: {amount} of {payment.reference or payment.id} (once: {milestone.id})\n")

"""Whether PayPal itself shows a payment as it is recorded."""

from collections.abc import Iterator

from chalicelib.payments import Payment
from chalicelib.providers.paypal.objects import Resource, amount_of, status_of
from chalicelib.providers.protocol import Difference

# What PayPal's own status of a capture says of the money that went back, and of whether any came.
# https://developer.paypal.com/docs/api/payments/v2/#definition-capture_status
REFUNDED = {"COMPLETED": "nothing", "PARTIALLY_REFUNDED": "a part", "REFUNDED": "all"}
TAKEN = ("COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED", "REVERSED")


def differences(ours: Payment, capture: Resource) -> Iterator[Difference]:
    """PayPal shows what was captured, and whether nothing, a part or all of it was refunded."""
    amount, currency = amount_of(capture.get("amount"))
    status = status_of(capture)
    captured = amount if status in TAKEN or not status else 0
    refunded = "nothing" if not ours.refunded else "all" if ours.refunded >= ours.captured else "a part"
    pairs = (
        ("captured", ours.captured, captured),
        ("currency", ours.currency, currency),
        ("refunded", refunded, REFUNDED.get(status, refunded)),
    )
    return (Difference(*each) for each in pairs if each[1] != each[2])

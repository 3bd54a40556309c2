"""What PayPal shows of a payment now, and whether that is as it is recorded."""

from collections.abc import Iterator

from chalicelib.payments import Payment
from chalicelib.providers.paypal.objects import TOOK_MONEY, Resource, amount_of, status_of
from chalicelib.providers.protocol import Difference

# What PayPal's own status of a capture says of the money that went back.
# https://developer.paypal.com/docs/api/payments/v2/#definition-capture_status
REFUNDED = {"COMPLETED": "nothing", "PARTIALLY_REFUNDED": "a part", "REFUNDED": "all"}
# The event that says what its status says.
SAYS = {
    **dict.fromkeys(TOOK_MONEY, "PAYMENT.CAPTURE.COMPLETED"),
    "PENDING": "PAYMENT.CAPTURE.PENDING",
    "DECLINED": "PAYMENT.CAPTURE.DECLINED",
    **dict.fromkeys(("FAILED", "DENIED"), "PAYMENT.CAPTURE.DENIED"),
}


def differences(ours: Payment, capture: Resource) -> Iterator[Difference]:
    """PayPal shows what was captured, and whether nothing, a part or all of it was refunded."""
    amount, currency = amount_of(capture.get("amount"))
    status = status_of(capture)
    captured = amount if status in TOOK_MONEY or not status else 0
    refunded = "nothing" if not ours.refunded else "all" if ours.refunded >= ours.captured else "a part"
    pairs = (
        ("captured", ours.captured, captured),
        ("currency", ours.currency, currency),
        ("refunded", refunded, REFUNDED.get(status, refunded)),
    )
    return (Difference(*each) for each in pairs if each[1] != each[2])


def bodies(capture: Resource, now: int) -> Iterator[Resource]:
    """The capture as an event of our own making; none for a status that says nothing that is known."""
    type_ = SAYS.get(status_of(capture))
    if type_:
        yield {
            "id": f"asked-{capture['id']}-{now}",
            "event_type": type_,
            "create_time": capture.get("update_time") or capture.get("create_time"),
            "resource_version": "2.0",
            "resource": dict(capture),
        }

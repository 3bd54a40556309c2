"""What Stripe's events prove of a payout: https://docs.stripe.com/api/payouts/object"""

from chalicelib import payouts
from chalicelib.events import Event, mapping, safe_id
from chalicelib.payments import Facts
from chalicelib.providers.stripe.objects import Object, currency_of, in_minor_units, instant, object_of
from chalicelib.times import to_iso

LISTED = "daybook_listed"  # beside Stripe's own fields: what the payout is made of, as it was listed


def facts(event: Event) -> Facts:
    """Of a payout, whatever the event is called: its status says it."""
    about, at = object_of(event.payload), event.created_at
    if about.get("object") == "balance_transaction":  # has it as it was when it was asked for
        about = mapping(about.get("source"))
        at = _since(event, about)
    return _of(event, about, at) if about.get("object") == "payout" else {}


def _since(event: Event, about: Object) -> int:
    """Since when it can have been as it was shown then: the day on which the bank has it, if that is past."""
    return min(event.as_of, instant(about.get("arrival_date"), event.as_of))


def _of(event: Event, about: Object, at: int) -> Facts:
    currency = currency_of(about)
    as_of, arrives = event.as_of, about.get("arrival_date")
    status = about.get("status")
    own = {
        "amount": [as_of, _amount(about, currency), currency],
        "arrival_date": [as_of, to_iso(instant(arrives, 0))[:10]] if arrives else None,
        "trace_id": _reported(as_of, _trace(about)),
        "method": _reported(as_of, about.get("method")),
        "failure": _reported(as_of, about.get("failure_code")),
        "listed": [as_of, about[LISTED]] if LISTED in about else None,
        "automatic": int(about["automatic"]) if isinstance(about.get("automatic"), bool) else None,
        "created_at": instant(about.get("created"), at),
        "livemode": event.livemode,
        "account": [event.of_account] if event.of_account else None,
    }
    known = str(status) if status in payouts.STATUSES else payouts.STATUSES[0]
    return payouts.stated(at, known, **own)


def _amount(about: Object, currency: str) -> int:
    """Below zero where the bank was debited for a negative balance."""
    value = about.get("amount")
    return in_minor_units(value, currency) if type(value) is int else 0


def _reported(as_of: int, value: object) -> list[int | str] | None:
    text = safe_id(value)
    return None if text is None else [as_of, text]


def _trace(about: Object) -> object:
    """https://docs.stripe.com/payouts/trace-id: supported, or not yet."""
    return mapping(about.get("trace_id")).get("value")

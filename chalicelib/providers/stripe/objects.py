"""Reading Stripe's objects: https://docs.stripe.com/api"""

from collections.abc import Mapping
from typing import Any

from chalicelib import money
from chalicelib.events import Event, mapping, safe_id
from chalicelib.payments.labels import METADATA, labels
from chalicelib.times import from_iso, from_seconds

NAME = "stripe"
Object = Mapping[str, Any]  # as JSON has it

# Where Stripe's unit is not ISO 4217's: the factor from one to the other.
# https://docs.stripe.com/currencies#special-cases and #zero-decimal
UNIT = {"ISK": (1, 100), "UGX": (1, 100), "MGA": (100, 1)}
THIN = "v2.core.event"


def object_of(payload: Object) -> Object:
    return mapping(mapping(payload.get("data")).get("object"))


def id_of(value: object) -> str | None:
    """An id, or the id of the object that was expanded in its place."""
    return safe_id(value["id"] if isinstance(value, dict) and "id" in value else value)


def is_thin(payload: Object) -> bool:
    """Thin events name their object, and leave it to be fetched."""
    return payload.get("object") == THIN


def instant(value: object, otherwise: int) -> int:
    """Milliseconds. Snapshot events give whole seconds, thin events ISO 8601."""
    try:
        if isinstance(value, str):
            return from_iso(value)
        if isinstance(value, int):
            return from_seconds(value)
    except (ValueError, OverflowError):
        pass
    return otherwise


def type_of(event: Event) -> str:
    """The type of the snapshot event: a completed thin event says the same under ``v1.…``."""
    return event.type.removeprefix("v1.")


def currency_of(about: Object) -> str:
    """As ISO 4217 writes it. Raises ``ValueError``."""
    currency = about.get("currency")
    if not isinstance(currency, str) or not money.is_currency(currency.upper()):
        raise ValueError("no currency")
    return currency.upper()


def amount(about: Object, field: str, currency: str) -> int | None:
    """An amount in ISO 4217's minor unit, ``None`` where there is none. Raises ``ValueError``."""
    value = about.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= money.LARGEST:
        raise ValueError(f"{field} is not an amount")
    return in_minor_units(value, currency)


def in_minor_units(value: int, currency: str) -> int:
    times, by = UNIT.get(currency, (1, 1))
    return value * times // by


def written(at: int, metadata: object, **more: object) -> dict[str, list[int | str]] | None:
    """What people wrote into an object, as of an instant: https://docs.stripe.com/metadata"""
    named = {f"{METADATA}{name}": value for name, value in mapping(metadata).items()}
    return labels(at, **named, **more)

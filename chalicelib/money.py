"""Amounts as integers in the currency's minor unit (ISO 4217: EUR 2 decimals, JPY 0, KWD 3)."""

from decimal import Decimal, InvalidOperation, Overflow
from functools import cache

LARGEST = 10**18  # far above any payment, far below what DynamoDB's 38 digits can hold


@cache
def exponent(currency: str) -> int:
    """How many decimals the currency's minor unit has. Raises ``ValueError`` for an unknown currency."""
    from iso4217 import Currency  # parses the ISO table when imported: not needed to receive a webhook

    return Currency(currency).exponent or 0


def is_currency(code: str) -> bool:
    """Whether ISO 4217 lists it."""
    try:
        exponent(code)
    except ValueError:
        return False
    return True


def minor_units(value: str, currency: str) -> int:
    """``("12.30", "EUR")`` is 1230, ``("-0.01", "USD")`` is -1.

    Raises ``ValueError`` for what is no amount, or has more decimals than the currency.
    """
    try:
        amount = Decimal(value).scaleb(exponent(currency))
    except (InvalidOperation, Overflow):
        raise ValueError("not a decimal amount") from None
    if not amount.is_finite() or amount != amount.to_integral_value() or abs(amount) > LARGEST:
        raise ValueError("not an amount in this currency")
    return int(amount)


def display(amount: int, currency: str) -> str:
    """``(1230, "EUR")`` is ``12.30 EUR``; an unknown currency is shown in its minor unit."""
    try:
        return f"{Decimal(amount).scaleb(-exponent(currency)):f} {currency}"
    except ValueError:
        return f"{amount} {currency}"

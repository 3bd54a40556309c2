"""Numbers and money as the reader writes them: by the languages that the browser asks for."""

from decimal import Decimal, InvalidOperation

from babel import Locale, UnknownLocaleError
from babel.numbers import NumberFormatError, format_decimal, parse_decimal
from flask import has_request_context, request

from chalicelib import money

ENGLISH = Locale("en", "GB")


def locale() -> Locale:
    """The reader's, by the first of the browser's languages that is known; else English."""
    if not has_request_context():
        return ENGLISH
    for name in request.accept_languages.values():
        try:
            return Locale.parse(name, sep="-")
        except (UnknownLocaleError, ValueError, TypeError):
            continue
    return ENGLISH


def number(value: float) -> str:
    """``1234.5`` is ``1,234.5``, or ``1.234,5``."""
    return format_decimal(value, locale=locale())


def decimal(text: str) -> Decimal:
    """What the reader typed: ``1.234,5``, or as programs write it. Raises ``ValueError``."""
    try:
        return parse_decimal(text, locale(), strict=True)
    except NumberFormatError:
        pass
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None


def amount(value: int | None, currency: str | None) -> str:
    """Of an amount in minor units: ``(123456, "EUR")`` is ``1,234.56 EUR``, or ``1.234,56 EUR``."""
    if value is None:
        return ""
    try:
        decimals = money.exponent(currency or "")
    except ValueError:  # an unknown currency, in its minor unit
        decimals = 0
    reader = locale()
    whole = reader.decimal_formats[None].pattern.partition(".")[0]  # how thousands are grouped
    pattern = f"{whole}.{'0' * decimals}" if decimals else whole
    shown = format_decimal(Decimal(value).scaleb(-decimals), pattern, reader)
    return f"{shown} {currency or ''}".strip()

"""What PayPal says it kept of a capture, a sale or a refund, and what reached or left the balance.

https://developer.paypal.com/docs/api/payments/v2/#definition-seller_receivable_breakdown
https://developer.paypal.com/docs/api/payments/v2/#definition-seller_payable_breakdown
https://developer.paypal.com/docs/api/payments/v1/#definition-sale
"""

from decimal import ROUND_HALF_EVEN, Decimal

from chalicelib import money
from chalicelib.events import items, mapping
from chalicelib.payments import BalanceEntry
from chalicelib.providers.paypal.objects import Resource, amount_of


def of_capture(capture: Resource, id_: str) -> BalanceEntry | None:
    """``None`` where it is not said: what is pending or denied has none. Raises ``ValueError``."""
    breakdown = mapping(capture.get("seller_receivable_breakdown"))
    if breakdown.get("net_amount"):
        return _of_breakdown(breakdown, id_, 1)
    if "transaction_fee" not in capture:
        return None
    gross, currency = amount_of(capture.get("amount"))
    fee, _ = amount_of(capture["transaction_fee"])
    kinds = {"transaction_fee": fee}
    if not capture.get("receivable_amount"):
        return BalanceEntry(currency, gross, fee, gross - fee, None, kinds, id_)
    net, other = amount_of(capture["receivable_amount"])
    rate = str(capture.get("exchange_rate") or "1")
    return _exchanged(net, other, kinds, (currency, rate), id_)


def of_refund(refund: Resource, id_: str) -> BalanceEntry | None:
    """Money out: its amounts are below zero, and so is the fee that is given back."""
    breakdown = mapping(refund.get("seller_payable_breakdown"))
    if breakdown.get("net_amount"):
        return _of_breakdown(breakdown, id_, -1)
    if "refund_from_transaction_fee" not in refund:
        return None
    gross, currency = amount_of(refund.get("amount"))
    fee, _ = amount_of(refund["refund_from_transaction_fee"])
    return BalanceEntry(currency, -gross, -fee, fee - gross, None, {"refund_from_transaction_fee": -fee}, id_)


def _of_breakdown(breakdown: Resource, id_: str, sign: int) -> BalanceEntry:
    gross, currency = amount_of(breakdown.get("gross_amount"))
    net, _ = amount_of(breakdown["net_amount"])
    kinds: dict[str, int] = {}
    if breakdown.get("paypal_fee"):
        kinds["paypal_fee"] = sign * amount_of(breakdown["paypal_fee"])[0]
    platform = [amount_of(each.get("amount"))[0] for each in items(breakdown.get("platform_fees"))]
    if platform:
        kinds["platform_fees"] = sign * sum(platform)
    received = breakdown.get("receivable_amount") or breakdown.get("net_amount_in_receivable_currency")
    if received:
        at_home, other = amount_of(received)
        rate = _rate(breakdown, other)
        said = breakdown.get("paypal_fee_in_receivable_currency")
        fee = sign * amount_of(said)[0] if said else None
        if rate is None and net:
            rate = f"{_in_own_unit(at_home, other) / _in_own_unit(net, currency):f}"
        return _exchanged(sign * at_home, other, kinds, (currency, rate or "1"), id_, fee)
    return BalanceEntry(currency, sign * gross, sign * (gross - net), sign * net, None, kinds, id_)


def _rate(breakdown: Resource, into: str) -> str | None:
    """A capture has its rate beside its amounts, a refund by each of the balances that it is taken from.

    One that is stated the other way round is turned.
    """
    by_balance = [mapping(each.get("exchange_rate")) for each in items(breakdown.get("net_amount_breakdown"))]
    for each in (mapping(breakdown.get("exchange_rate")), *by_balance):
        value = each.get("value")
        if value and each.get("source_currency") == into and each.get("target_currency") != into:
            return f"{1 / Decimal(str(value)):f}"
        if value:
            return str(value)
    return None


def _exchanged(
    net: int,
    currency: str,
    kinds: dict[str, int],
    at: tuple[str, str],
    id_: str,
    paypal_fee: int | None = None,
) -> BalanceEntry:
    """In the balance's currency: what it received is said, the fees are exchanged, and gross is their sum.

    ``at``: the currency that they are in, and the rate.
    """
    own, rate = at
    fees = {kind: _times(amount, own, currency, rate) for kind, amount in kinds.items()}
    if paypal_fee is not None:
        fees["paypal_fee"] = paypal_fee
    fee = sum(fees.values())
    return BalanceEntry(currency, net + fee, fee, net, rate, fees, id_)


def _in_own_unit(amount: int, currency: str) -> Decimal:
    return Decimal(amount).scaleb(-money.exponent(currency))


def _times(amount: int, currency: str, into: str, rate: str) -> int:
    exchanged = _in_own_unit(amount, currency) * Decimal(rate)
    return int(exchanged.scaleb(money.exponent(into)).to_integral_value(ROUND_HALF_EVEN))

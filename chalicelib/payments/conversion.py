"""Facts that other rules made, in the shape of today's.

They are what there is to read until a payment is folded anew from its events, at its next write; and all
there is of events whose bodies were removed.
"""

from chalicelib.joining import Value
from chalicelib.payments.facts import OPEN, UNKNOWN, Facts, Fields, fold

WITH_LOSS = 3  # instant, outcome, what was lost


def converted(subject: str, facts: Facts, rules: int) -> Facts:
    """The facts of a payment as ``rules`` made them, which are none newer than these."""
    if rules == 1:
        return _from_version_1(subject, facts)
    return _from_version_2(facts) if rules in (2, 3) else facts


def _from_version_2(facts: Facts) -> Facts:
    """Of version 2 (release 0.1.0): a dispute's outcome told what was lost too, its claim was its amount."""
    return {
        thing: _reported_apart(fields) if thing.startswith("dispute ") else fields
        for thing, fields in facts.items()
    }


def _reported_apart(f: Fields) -> Fields:
    fields: Fields = {name: value for name, value in f.items() if name != "amount"}
    if len(f.get("outcome", ())) == WITH_LOSS:
        at, rank, lost = f["outcome"]
        fields |= {"outcome": [at, rank]} | ({} if lost == UNKNOWN else {"lost": [at, lost]})
    if "amount" in f:
        fields["claimed"] = [f["amount"][0], f.get("outcome", (0, OPEN))[1], f["amount"][1]]
    return fields


def _from_version_1(subject: str, facts: Facts) -> Facts:
    """Of version 1: flags and sets where there are reports now, totals as things of their own."""
    captured_at = facts.get("payment", {}).get("captured_at", 0)
    return fold(_thing(subject, thing, f, captured_at) for thing, f in facts.items())


def _thing(subject: str, thing: str, f: Fields, captured_at: int) -> Facts:
    kind = thing.partition(" ")[0]
    if kind == "total":
        return _total(f)
    fields: Fields = {name: value for name, value in f.items() if name not in GONE}
    if f.get("captured"):
        fields["captured"] = [[f["captured"], captured_at]]
    if f.get("charge"):
        fields["charge"] = min(f["charge"])
    if "currency" in f and kind != "payment":
        fields["currency"] = [0, min(f["currency"])]
    is_stripe = subject.startswith("stripe:")
    return {thing: fields | BY_KIND.get(kind, _nothing)(f, is_stripe)}


def _nothing(f: Fields, is_stripe: bool) -> Fields:
    return {}


GONE = (
    "captured",
    "captured_at",
    "charge",
    "currency",
    "opened_at",
    "outcome",
    "returned",
    "settled_by_refund",
)


def _payment(payment: Fields, is_stripe: bool) -> Fields:
    if "currency" not in payment:
        return {}
    at, amount = payment.get("amount", (0, payment.get("captured", 0)))
    is_paid = int(bool(payment.get("captured")))
    return {"priced": [is_paid, at, amount, min(payment["currency"])]}


def _refund(f: Fields, is_stripe: bool) -> Fields:
    return {"can_be_release": int(is_stripe)}


def _total(f: Fields) -> Facts:
    """``step`` was what a running total grew by, ``sightings`` when that was said."""
    [charge] = f["charge"]
    before: Value = f["total"] - f["step"] if f.get("step") else UNKNOWN
    seen = f.get("sightings") or sorted({f["seen_at"], f["last_seen_at"]})
    return {
        f"charge {charge}": {"refund_totals": [[at, f["total"], before] for at in seen], "can_be_release": 1}
    }


def _dispute(f: Fields, is_stripe: bool) -> Fields:
    at, rank = f.get("outcome", (f["opened_at"], OPEN))
    fields: Fields = {"created_at": f["opened_at"], "outcome": [at, rank]}
    if "amount" in f:
        fields["claimed"] = [f["amount"][0], rank, f["amount"][1]]
    is_inquiry = is_stripe and f.get("settled_by_refund", (0, False))[1]
    fields["inquired_at" if is_inquiry else "disputed_at"] = f["opened_at"]
    if not is_stripe:
        fields["taken_by_reversal"] = 1
    if "returned" in f:
        fields["moved"] = [2, f["returned"][0], f["amount"][1], f["returned"][1], 1]
    return fields


BY_KIND = {"payment": _payment, "refund": _refund, "dispute": _dispute}

"""Facts as they are stored: with their payment while they are small, beside it in parts once they outgrow it.

An item holds at most 400 kB, and a payment can have thousands of refunds. The parts are written in one
transaction with the payment, and each names the version that it is of: what is read in between is read anew.
"""

import json
import zlib
from collections.abc import Sequence

from chalicelib.payments import Facts
from chalicelib.table import Item, key, number, string, unpacked

SMALL = 600  # characters that are kept as text: with more an item would be over 1 kB, and cost a unit more
ONE_ITEM = 150_000  # bytes, compressed, that are kept with the payment
PART = 350_000  # bytes of a part


def stored(subject: str, facts: Facts, version: int) -> tuple[Item, list[Item]]:
    """The payment's attributes that hold its facts, or name their parts; and the parts."""
    text = json.dumps(facts, sort_keys=True)
    if len(text) <= SMALL:
        return {"facts": string(text)}, []
    content = zlib.compress(text.encode(), 6)
    if len(content) <= ONE_ITEM:
        return {"facts": {"B": content}}, []
    pieces = [content[start : start + PART] for start in range(0, len(content), PART)]
    keys = _keys(subject, len(pieces))
    parts = [
        {**place, "facts": {"B": piece}, "of": number(version)}
        for place, piece in zip(keys, pieces, strict=True)
    ]
    return {"parts": number(len(parts)), "parts_of": number(version)}, parts


def keys(payment: Item) -> list[Item]:
    """Where the parts of a payment's facts are; none if it has them itself."""
    return _keys(payment["subject"]["S"], int(payment["parts"]["N"])) if "parts" in payment else []


def _keys(subject: str, count: int) -> list[Item]:
    return [key(subject, f"payment:part:{place:03}") for place in range(count)]


def facts(payment: Item, parts: Sequence[Item]) -> Facts | None:
    """The facts of a payment; ``None`` if its parts are not all there, or not of its version."""
    if "parts" not in payment:
        kept = payment["facts"]
        text = kept["S"] if "S" in kept else unpacked(kept).decode()
    elif [each["of"] for each in parts] == [payment["parts_of"]] * int(payment["parts"]["N"]):
        in_order = sorted(parts, key=lambda each: str(each["entry"]["S"]))
        text = unpacked(*(each["facts"] for each in in_order)).decode()
    else:
        return None
    found: Facts = json.loads(text)
    return found

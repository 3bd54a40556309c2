"""What payouts are made of: the movements of the balance in each, kept beside the payout, and by payment.

They are the provider's list as it was read last, not facts: it can be read again. Of the payout itself its
facts say how many there are and what they add up to.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from chalicelib.table import Item, Table, number, string

BY_REFERENCE = "by-reference"
PARTITION = "made-of:"  # and the payout's subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A movement of the balance that a payout is made of, in minor units of the payout's currency.

    ``kind`` is the provider's name for it, ``object`` the id of the charge, refund or dispute, ``payment``
    the subject that it is of, if it is of one.
    """

    id: str
    kind: str
    at: int
    gross: int
    fee: int
    net: int
    object: str | None
    payment: str | None


def by_kind(parts: Iterable[Part]) -> list[list[Any]]:
    """What they add up to: ``[kind, count, gross, fee, net]`` of each kind."""
    found: dict[str, list[int]] = {}
    for each in parts:
        figures = found.setdefault(each.kind, [0, 0, 0, 0])
        for place, value in enumerate((1, each.gross, each.fee, each.net)):
            figures[place] += value
    return [[kind, *figures] for kind, figures in sorted(found.items())]


class MadeOf:
    """All of them, by payout and by payment."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def put(self, payout: str, parts: Iterable[Part]) -> None:
        """Keep up to 100 of them; those that are there already once more."""
        items = [_item(payout, each) for each in parts]
        if items:
            self._table.transact([{"Item": item} for item in items])

    def of(self, payout: str) -> Iterator[Part]:
        """Those of a payout, in the order of their ids, lazily."""
        found = self._table.query(
            KeyConditionExpression="subject = :payout",
            ExpressionAttributeValues={":payout": string(PARTITION + payout)},
            ConsistentRead=True,
        )
        return map(_part, found)

    def payouts(self, payment: str) -> list[str]:
        """The subjects of the payouts that a payment's money is in."""
        found = self._table.query(
            IndexName=BY_REFERENCE,
            KeyConditionExpression="#reference = :payment",
            ExpressionAttributeNames={"#reference": "reference"},
            ExpressionAttributeValues={":payment": string(payment)},
        )
        partitions = {item["subject"]["S"] for item in found}
        return sorted(each.removeprefix(PARTITION) for each in partitions if each.startswith(PARTITION))


def _item(payout: str, part: Part) -> Item:
    item = {
        "subject": string(PARTITION + payout),
        "entry": string(part.id),
        "kind": string(part.kind),
        **{name: number(getattr(part, name)) for name in ("at", "gross", "fee", "net")},
    }
    if part.object:
        item["object"] = string(part.object)
    if part.payment:
        item["reference"] = string(part.payment)  # found by it, in the index of what payments are found by
    return item


def _part(item: Item) -> Part:
    at, gross, fee, net = (int(item[name]["N"]) for name in ("at", "gross", "fee", "net"))
    return Part(
        id=item["entry"]["S"],
        kind=item["kind"]["S"],
        at=at,
        gross=gross,
        fee=fee,
        net=net,
        object=item.get("object", {}).get("S"),
        payment=item.get("reference", {}).get("S"),
    )

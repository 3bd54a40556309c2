"""What came by one transmission: its one body, and how much was made of it by whoever holds it.

A provider that signs a checksum only leaves room for other bodies under a real signature. So the first body
that is recorded is the transmission's own; of others a few are kept, and a few questions are asked.
"""

import hashlib
from collections.abc import Mapping

from chalicelib.errors import TAMPERED, UNCONFIRMED, Distrusted
from chalicelib.table import Item, Request, Table, key, number, raise_if_condition_fails, string

TRANSMISSION, COPIES = "transmission", "copies"
SAME_BODY = "attribute_not_exists(entry) OR digest = :digest"
# Seconds: longer than a transmission's time is accepted and a message can wait on the queues.
KEPT = 40 * 24 * 3600
MOST_COPIES = 10  # that are set aside: evidence, and no more of it
MOST_QUESTIONS = 10  # in vain: twice what a delivery asks whose provider is late


class Transmissions:
    """All that one stage has seen. A name is a transmission's id, or an event's where there is none."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def hold(self, name: str, body: bytes, received_at: int) -> None:
        """Let it stand for that body. Raises ``Distrusted`` if it stands for another."""
        with raise_if_condition_fails(Distrusted(TAMPERED)):
            self._table.call("PutItem", **held_to_one_body(name, body, received_at))

    def check(self, name: str, body: bytes) -> bool:
        """Before the provider is asked: whether it was in vain before.

        Raises ``Distrusted``: it stands for another body, or enough was asked in vain about what came by it.
        """
        keys = [key(_subject(name), entry) for entry in (TRANSMISSION, COPIES)]
        found = {item["entry"]["S"]: item for item in self._table.each(keys, ConsistentRead=True)}
        held, copies = found.get(TRANSMISSION), found.get(COPIES, {})
        if held and held["digest"]["S"] != _digest(body):
            raise Distrusted(TAMPERED)
        questions = _count(copies, "questions")
        if not held and questions >= MOST_QUESTIONS:
            raise Distrusted(UNCONFIRMED)
        return questions > 0

    def asked_in_vain(self, name: str, now: int) -> None:
        self._more(name, "questions", now)

    def may_keep(self, name: str, now: int) -> bool:
        """Whether one more copy is to be kept; it is counted either way."""
        return self._more(name, "kept", now) <= MOST_COPIES

    def _more(self, name: str, what: str, now: int) -> int:
        answer = self._table.call(
            "UpdateItem",
            Key=key(_subject(name), COPIES),
            UpdateExpression=f"ADD {what} :one SET expires_at = :expires",
            ExpressionAttributeValues={":one": number(1), ":expires": number(now // 1000 + KEPT)},
            ReturnValues="UPDATED_NEW",
        )
        return _count(answer["Attributes"], what)


def held_to_one_body(name: str, body: bytes, received_at: int) -> Request:
    """A transmission's entry, and that it may be written again for the same body only."""
    digest = string(_digest(body))
    return {
        "Item": {
            **key(_subject(name), TRANSMISSION),
            "digest": digest,
            "expires_at": number(received_at // 1000 + KEPT),
        },
        "ConditionExpression": SAME_BODY,
        "ExpressionAttributeValues": {":digest": digest},
    }


def _subject(name: str) -> str:
    return f"transmission:{name}"


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _count(item: Item | Mapping[str, Mapping[str, str]], what: str) -> int:
    return int(item[what]["N"]) if what in item else 0

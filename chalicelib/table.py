"""The table as DynamoDB knows it: keys, items and conditions; what they mean is its callers' business."""

import base64
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from chalicelib.aws import Caller
from chalicelib.errors import AwsError

Attribute = dict[str, Any]  # a value as DynamoDB has it: {"S": "text"}, {"N": "1"}, {"B": b"bytes"}
Item = dict[str, Attribute]
Request = dict[str, Any]


def string(text: str) -> Attribute:
    return {"S": text}


def number(value: int) -> Attribute:
    return {"N": str(value)}


def packed(content: bytes) -> Attribute:
    return {"B": zlib.compress(content, 6)}


def unpacked(*attributes: Attribute) -> bytes:
    """What was packed, in one attribute or in several that follow each other."""
    return zlib.decompress(b"".join(base64.b64decode(each["B"]) for each in attributes))


def projected(*names: str) -> Request:
    """Only those attributes are read."""
    return {
        "ProjectionExpression": ", ".join(f"#{name}" for name in names),
        "ExpressionAttributeNames": {f"#{name}": name for name in names},
    }


def key(subject: str, entry: str) -> Item:
    return {"subject": string(subject), "entry": string(entry)}


class Table:
    """One table, by its name."""

    def __init__(self, aws: Caller, name: str) -> None:
        self._aws = aws
        self.name = name

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        return self._aws("dynamodb", operation, TableName=self.name, **request)

    def get(self, subject: str, entry: str) -> Item | None:
        found: Item | None = self.call("GetItem", Key=key(subject, entry), ConsistentRead=True).get("Item")
        return found

    def put(self, item: Item) -> None:
        self.call("PutItem", Item=item)

    def delete(self, subject: str, entry: str) -> None:
        self.call("DeleteItem", Key=key(subject, entry))

    def update(
        self, subject: str, entry: str, expression: str, values: Item, names: dict[str, str] | None = None
    ) -> None:
        extra: Request = {"ExpressionAttributeNames": names} if names else {}
        self.call(
            "UpdateItem",
            Key=key(subject, entry),
            UpdateExpression=expression,
            ExpressionAttributeValues=values,
            **extra,
        )

    def query(self, **query: Any) -> Iterator[Item]:
        return self.pages("Query", **query)

    def pages(self, operation: str, **request: Any) -> Iterator[Item]:
        start: Request = {}
        while True:
            answer = self.call(operation, **request, **start)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def batch(self, keys: Sequence[Item], **wanted: Any) -> tuple[list[Item], list[Item]]:
        """The items of up to 100 keys that are there, in no order; and the keys that were not looked for."""
        answer = self._aws("dynamodb", "BatchGetItem", RequestItems={self.name: {"Keys": keys, **wanted}})
        skipped = answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
        return answer["Responses"].get(self.name, []), skipped

    def each(self, keys: Sequence[Item], **wanted: Any) -> Iterator[Item]:
        """The items of up to 100 keys that are there, in no order, asked for until all were looked for."""
        left = list(keys)
        while left:
            found, left = self.batch(left, **wanted)
            yield from found

    def transact(self, puts: Sequence[Request]) -> None:
        """All or nothing. Raises ``AwsError``, whose reasons are in the order of ``puts``.

        The token is the same for each attempt: one whose answer was lost is not carried out again. It is an
        account's, and may stand for no other request; so it is the digest of all of this one.
        """
        items = [{"Put": {"TableName": self.name, **put}} for put in puts]
        token = hashlib.sha256(repr(items).encode()).hexdigest()[:36]
        self._aws("dynamodb", "TransactWriteItems", TransactItems=items, ClientRequestToken=token)


@contextmanager
def raise_if_condition_fails(otherwise: Exception) -> Iterator[None]:
    """Raise ``otherwise`` where the condition of the one write inside does not hold."""
    try:
        yield
    except AwsError as error:
        if error.code == "ConditionalCheckFailedException":
            raise otherwise from None
        raise

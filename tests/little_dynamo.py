"""DynamoDB in a dict, in this process: what the ledger asks of it, and no more.

For tests that make hundreds of thousands of calls. It passes the same tests as the emulators do
(``tests/stage/test_ledger.py``, ``make oracle``).
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore import xform_name

from chalicelib.errors import AwsError

Item = dict[str, Any]
Request = Mapping[str, Any]
Key = tuple[str, str]

INDEXES = {
    "by-reference": ("reference", "subject"),
    "by-day": ("day", "listed"),
    "by-inconsistency": ("inconsistent", "inconsistent_since"),
    "by-customer": ("customer", "listed"),
}
TOKEN = re.compile(r"[#:]?\w+|[<>]=|[=<>(),+]")
PAGE = 1_000_000  # bytes of items in one answer to a Query


class LittleDynamo:
    """A ``Caller`` of one table. ``checks``: without it conditions always hold, as in no table."""

    def __init__(self, checks: bool = True) -> None:
        self.items: dict[Key, str] = {}  # as JSON: nobody can change what is kept
        self._checks = checks

    def __call__(self, service: str, operation: str, /, **request: Any) -> dict[str, Any]:
        """The answer, as it would travel. Raises ``AwsError``."""
        sent = json.loads(json.dumps(request, default=lambda value: base64.b64encode(value).decode()))
        act: Callable[[Request], dict[str, Any]] = getattr(self, xform_name(operation))
        return act(sent)

    # ── one item ────────────────────────────────────────────────────────────────────────────────

    def get_item(self, request: Request) -> dict[str, Any]:
        found = self._get(_key(request["Key"]))
        return {"Item": found} if found else {}

    def put_item(self, request: Request) -> dict[str, Any]:
        self._check(_key(request["Item"]), request, "PutItem")
        self._put(request["Item"])
        return {}

    def delete_item(self, request: Request) -> dict[str, Any]:
        self._check(_key(request["Key"]), request, "DeleteItem")
        self.items.pop(_key(request["Key"]), None)
        return {}

    def update_item(self, request: Request) -> dict[str, Any]:
        self._check(_key(request["Key"]), request, "UpdateItem")
        item = self._get(_key(request["Key"])) or dict(request["Key"])
        expression = Expression(request["UpdateExpression"], request, item)
        changed = expression.update()
        self._put(changed)
        return {"Attributes": changed}

    # ── several ─────────────────────────────────────────────────────────────────────────────────

    def batch_get_item(self, request: Request) -> dict[str, Any]:
        [(table, wanted)] = request["RequestItems"].items()
        found = (self._get(_key(each)) for each in wanted["Keys"])
        return {"Responses": {table: [each for each in found if each]}, "UnprocessedKeys": {}}

    def transact_write_items(self, request: Request) -> dict[str, Any]:
        puts = [each["Put"] for each in request["TransactItems"]]
        keys = [_key(put["Item"]) for put in puts]
        assert len(set(keys)) == len(keys) <= 100
        holds = [self._holds(key, put) for key, put in zip(keys, puts, strict=True)]
        if not all(holds):
            reasons = [{"Code": "None" if each else "ConditionalCheckFailed"} for each in holds]
            raise AwsError("dynamodb", "TransactWriteItems", "TransactionCanceledException", False, reasons)
        for put in puts:
            self._put(put["Item"])
        return {}

    def query(self, request: Request) -> dict[str, Any]:
        partition, order = INDEXES.get(request.get("IndexName", ""), ("subject", "entry"))
        text = request["KeyConditionExpression"]
        found = [
            item
            for item in map(json.loads, self.items.values())
            if partition in item and order in item and Expression(text, request, item).holds()
        ]
        found.sort(key=lambda item: (_plain(item[order]), _key(item)))
        if not request.get("ScanIndexForward", True):
            found.reverse()
        start = request.get("ExclusiveStartKey")
        if start:
            keys = [_key(item) for item in found]
            found = found[keys.index(_key(start)) + 1 :]
        page = found[: request.get("Limit", PAGE)]
        last = {"LastEvaluatedKey": {**page[-1]}} if len(page) < len(found) else {}
        if "FilterExpression" in request:
            page = [each for each in page if Expression(request["FilterExpression"], request, each).holds()]
        return {"Items": page, **last}

    def scan(self, request: Request) -> dict[str, Any]:
        return {"Items": [json.loads(self.items[key]) for key in sorted(self.items)]}

    # ── what is kept ────────────────────────────────────────────────────────────────────────────

    def _get(self, key: Key) -> Item | None:
        kept = self.items.get(key)
        return json.loads(kept) if kept else None

    def _put(self, item: Item) -> None:
        self.items[_key(item)] = json.dumps(item, sort_keys=True)

    def _holds(self, key: Key, request: Request) -> bool:
        text = request.get("ConditionExpression")
        return not self._checks or text is None or Expression(text, request, self._get(key) or {}).holds()

    def _check(self, key: Key, request: Request, operation: str) -> None:
        if not self._holds(key, request):
            raise AwsError("dynamodb", operation, "ConditionalCheckFailedException", False)


def _key(item: Item) -> Key:
    return item["subject"]["S"], item["entry"]["S"]


def _plain(value: Any) -> Any:
    """What an attribute compares by."""
    [(kind, content)] = value.items()
    return int(content) if kind == "N" else content


class Expression:
    """A condition or an update, of an item. As much of the grammar as there is in the ledger."""

    def __init__(self, text: str, request: Request, item: Item) -> None:
        self._tokens: Iterator[str] = iter([*TOKEN.findall(text), ""])
        self._names = request.get("ExpressionAttributeNames", {})
        self._values = request.get("ExpressionAttributeValues", {})
        self._item = item
        self._next = next(self._tokens)

    def _take(self) -> str:
        taken, self._next = self._next, next(self._tokens, "")
        return taken

    # ── conditions ──────────────────────────────────────────────────────────────────────────────

    def holds(self) -> bool:
        holds = self._all()
        while self._next == "OR":
            self._take()
            holds = self._all() or holds
        assert self._next == "", self._next
        return holds

    def _all(self) -> bool:
        holds = self._one()
        while self._next == "AND":
            self._take()
            holds = self._one() and holds
        return holds

    def _one(self) -> bool:
        first = self._take()
        if self._next == "(":
            return self._function(first)
        left, compared = self._value(first), self._take()
        right = self._value(self._take())
        if compared == "BETWEEN":
            assert self._take() == "AND"
            most = self._value(self._take())
            return left is not None and right <= left <= most
        if left is None:
            return False
        return bool({"=": left == right, "<": left < right, "<=": left <= right}[compared])

    def _function(self, name: str) -> bool:
        self._take()
        attribute = self._take()
        if name == "begins_with":
            self._take()
            begins = str(self._value(attribute)).startswith(str(self._value(self._take())))
        else:
            is_there = self._name(attribute) in self._item
            begins = {"attribute_exists": is_there, "attribute_not_exists": not is_there}[name]
        assert self._take() == ")"
        return begins

    def _name(self, token: str) -> str:
        return self._names[token] if token.startswith("#") else token

    def _value(self, token: str) -> Any:
        found = self._values[token] if token.startswith(":") else self._item.get(self._name(token))
        return None if found is None else _plain(found)

    # ── updates ─────────────────────────────────────────────────────────────────────────────────

    def update(self) -> Item:
        """The item as it will be."""
        item = dict(self._item)
        while self._next:
            clause = self._take()
            while self._next and self._next not in ("SET", "REMOVE", "ADD"):
                getattr(self, f"_{clause.lower()}")(item)
                if self._next == ",":
                    self._take()
        return item

    def _set(self, item: Item) -> None:
        name = self._name(self._take())
        assert self._take() == "="
        value = self._take()
        if value == "if_not_exists":
            self._take()
            kept = self._item.get(self._name(self._take()))
            self._take()
            otherwise = self._values[self._take()]
            self._take()
            item[name] = kept or otherwise
        else:
            item[name] = self._values[value]

    def _remove(self, item: Item) -> None:
        item.pop(self._name(self._take()), None)

    def _add(self, item: Item) -> None:
        name, more = self._name(self._take()), self._values[self._take()]
        item[name] = {"N": str(int(item.get(name, {"N": "0"})["N"]) + int(more["N"]))}

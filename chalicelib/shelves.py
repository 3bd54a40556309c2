"""The small things that are kept in the table beside the records: checkpoints and certificates."""

import base64
import json
from contextlib import suppress
from typing import Any

from chalicelib.errors import VersionMoved
from chalicelib.table import Table, key, raise_if_condition_fails, string

CHECKPOINT = "checkpoint"
CERTIFICATE = "certificate"


class Checkpoints:
    """How far something has come, by its name."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def checkpoint(self, name: str) -> dict[str, Any]:
        """What was noted last under that name; empty if nothing was."""
        item = self._table.get(CHECKPOINT, name)
        noted: dict[str, Any] = json.loads(item["noted"]["S"]) if item else {}
        return noted

    def note_checkpoint(self, name: str, noted: dict[str, Any]) -> None:
        self._table.put(
            {"subject": string(CHECKPOINT), "entry": string(name), "noted": string(json.dumps(noted))}
        )

    def note_first(self, name: str, noted: dict[str, Any]) -> dict[str, Any]:
        """Note it if nothing was noted yet; what is noted now."""
        item = {**key(CHECKPOINT, name), "noted": string(json.dumps(noted))}
        with suppress(VersionMoved), raise_if_condition_fails(VersionMoved(name)):
            self._table.call("PutItem", Item=item, ConditionExpression="attribute_not_exists(entry)")
        return self.checkpoint(name)


class CertificateShelf:
    """Signing certificates by their URL, as PEM."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def certificates(self) -> dict[str, bytes]:
        found = self._table.query(
            KeyConditionExpression="subject = :certificate",
            ExpressionAttributeValues={":certificate": string(CERTIFICATE)},
        )
        return {item["entry"]["S"]: base64.b64decode(item["pem"]["B"]) for item in found}

    def keep_certificate(self, url: str, pem: bytes) -> None:
        self._table.put({"subject": string(CERTIFICATE), "entry": string(url), "pem": {"B": pem}})

"""Setting a queued record aside, so that nothing is lost; and no more copies of a thing than are of use."""

import hashlib
from dataclasses import dataclass

from chalicelib.inbox import QueuedRecord
from chalicelib.ledger import Ledger
from chalicelib.telemetry import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """Parks records. Each method raises ``AwsError``."""

    ledger: Ledger
    telemetry: Telemetry

    def distrusted(self, record: QueuedRecord, reason: str, now: int) -> None:
        """What may be forged. Each content has a place of its own: evidence must not be replaced by more."""
        subject, event_id = record.address
        event_id = f"{event_id}:{reason}:{digest(_body(record))}"
        parking = self.ledger.parking
        if parking.parked_event(subject, event_id) is None and not self._may_keep(record, now):
            self._log(subject, event_id, reason, is_kept=False)
            return
        parking.note_failure(subject, event_id, reason, record.attempts, now)
        parking.park(subject, event_id, record.sqs["body"], record.attempts, now)
        self._log(subject, event_id, reason)

    def dead_lettered(self, record: QueuedRecord, now: int) -> None:
        """What failed too often, with the reason that was noted; not in the place of another content."""
        subject, event_id = record.address
        parking = self.ledger.parking
        noted = parking.parked_event(subject, event_id)
        if noted and noted.parked_at is not None and noted.message != record.sqs["body"]:
            event_id = f"{event_id}:{digest(_body(record))}"
            parking.note_failure(subject, event_id, noted.reason, record.attempts, now)
            noted = None
        is_parked = noted is not None and noted.parked_at is not None
        if not is_parked and _is_by_transmission(record) and not self._may_keep(record, now):
            self._log(subject, event_id, is_kept=False)
            return
        parking.park(subject, event_id, record.sqs["body"], record.attempts, now)
        self._log(subject, event_id)

    def _may_keep(self, record: QueuedRecord, now: int) -> bool:
        message = record.message
        return message is None or message.is_redriven or self.ledger.transmissions.may_keep(message.name, now)

    def _log(self, subject: str, event_id: str, reason: str | None = None, is_kept: bool = True) -> None:
        fields = {"event_id": event_id, "subject": subject, "reason": reason}
        said = "parked" if is_kept else "one more copy, not kept"
        self.telemetry.log(said, "ERROR", {"parked" if is_kept else "not_kept": 1}, **fields)


def _is_by_transmission(record: QueuedRecord) -> bool:
    return record.message is not None and record.message.transmission is not None


def _body(record: QueuedRecord) -> bytes:
    return record.message.body if record.message else b""


def digest(body: bytes) -> str:
    """What tells one content from another in a name."""
    return hashlib.sha256(body).hexdigest()[:16]

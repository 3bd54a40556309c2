"""Movements: each time that money came or went, as a line of an account has it.

Their amounts add up to the payment's ``net``, and what the balance says of them to its ``settled``, for every
payment: each line of the ledger is put beside the balance's entry for the same object, and what is left of
either is a line of its own.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from chalicelib.payments.balance import BalanceEntry, balance_entries
from chalicelib.payments.books import Books
from chalicelib.payments.disputes import Dispute
from chalicelib.payments.facts import Facts, Fields, things
from chalicelib.payments.refunds import Refund

CAPTURE, REFUND, REVERSAL, DISPUTE = "capture", "refund", "reversal", "dispute"


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """Money that came (above zero) or went (below), ``at`` in milliseconds of the provider's time.

    ``amount`` is in minor units of the payment's ``currency``: 0 where only the balance shows it. ``object``
    is the provider's id of the charge, capture, refund or dispute; a refund that failed, or a dispute that
    was won, has a second line with the money that came back. ``entry`` is what the balance says of it.
    """

    id: str
    kind: str
    object: str
    at: int
    amount: int
    currency: str | None
    entry: BalanceEntry | None = None


def movements(subject: str, of: Books) -> list[Movement]:
    """All of a payment, in time."""
    return beside_balance(subject, _lines(subject, of), of.facts, _kinds(of), CAPTURE)


def beside_balance(
    subject: str, lines: Iterable[Movement], facts: Facts, kinds: Mapping[str, str], otherwise: str
) -> list[Movement]:
    """Those lines, each with the balance's entry for it, and the entries that are left, in time.

    ``kinds`` says what each object is, by its id; what is not in it is ``otherwise``. What the balance shows
    is dated as it is there; and the id of a line is the same whatever is learnt of it later.
    """
    found = sorted(_settled(sorted(lines, key=_place), facts, kinds, otherwise), key=_place)
    seen: Counter[str] = Counter()
    numbered = []
    for each in found:
        name = "/".join([subject, each.kind, *([each.object] if each.kind != otherwise else [])])
        seen[name] += 1
        numbered.append(replace(each, id=name if seen[name] == 1 else f"{name}/{seen[name]}"))
    return numbered


def _place(movement: Movement) -> tuple[int, str, str, int]:
    return movement.at, movement.kind, movement.object, movement.amount


def _lines(subject: str, of: Books) -> Iterator[Movement]:
    """What the ledger says, in the payment's currency."""

    def line(kind: str, object_: str, at: int, amount: int) -> Movement:
        return Movement(id="", kind=kind, object=object_, at=at, amount=amount, currency=of.currency)

    charges = [id_ for id_, fields in things(of.facts, "charge") if fields.get("captured")]
    captured = charges[0] if len(charges) == 1 else subject.rpartition(":")[2]
    for each in of.captures.each:
        yield line(CAPTURE, captured, each.at, each.amount)
    for refund in of.refunds:
        for at, amount in _of_refund(refund, of):
            yield line(_kind_of(refund), refund.id, at, amount)
    for dispute in of.disputes:
        for at, amount in _of_dispute(dispute, of):
            yield line(DISPUTE, dispute.id, at, amount)


def _of_refund(refund: Refund, of: Books) -> Iterator[tuple[int, int]]:
    """A reversal that took a dispute's money stands as long as the dispute does."""
    if not refund.has_succeeded or refund.is_undone or refund.is_foreign:
        return
    at = refund.succeeded_at or 0
    yield at, -refund.amount
    if refund.failed_at is not None:
        yield max(at, refund.failed_at), refund.amount
        return
    case = next((each for each in of.disputes if each.id == refund.dispute), None)
    if case and not case.takes:
        yield max(at, case.ended_at or 0), refund.amount


def _of_dispute(dispute: Dispute, of: Books) -> Iterator[tuple[int, int]]:
    """What it took when it was opened, and what came back; what reversals took are lines of their own."""
    fields = of.facts.get(f"dispute {dispute.id}", {})
    reversals = [each for each in of.refunds if each.dispute == dispute.id and each.stands]
    if dispute.opened_at is None or (dispute.outcome == "closed" and not _has_moved(fields)):
        return
    kept = 0 if reversals else dispute.held
    taken = kept if dispute.is_foreign else max(kept, dispute.amount)
    if taken:
        yield dispute.opened_at, -taken
    if taken > kept:
        yield max(dispute.opened_at, _came_back(dispute, fields, reversals)), taken - kept


def _has_moved(fields: Fields) -> bool:
    return "moved" in fields or "withdrawn_at" in fields


def _came_back(dispute: Dispute, fields: Fields, reversals: list[Refund]) -> int:
    """When: with the first reversal, as the provider says, or when it ended."""
    said = [each.succeeded_at or 0 for each in reversals] or [fields.get("reinstated_at", 0)]
    return min(said) or dispute.ended_at or 0


# ── beside what the balance says ────────────────────────────────────────────────────────────────────


def _settled(
    lines: Iterable[Movement], facts: Facts, kinds: Mapping[str, str], otherwise: str
) -> Iterator[Movement]:
    """Each line with an entry of its object, of the same amount if there is one; then what is left.

    Of what is ``otherwise``, as several captures of a charge, all is one object.
    """
    left: dict[str, list[tuple[int, BalanceEntry]]] = {}
    for at, entry in sorted(balance_entries(facts), key=lambda each: each[0]):
        left.setdefault(entry.of if entry.of in kinds else otherwise, []).append((at, entry))
    known = list(lines)
    beside: dict[int, tuple[int, BalanceEntry]] = {}
    for fits in (_is_equal, _is_alike):
        for place, line in enumerate(known):
            entries = left.get(line.object if line.object in kinds else otherwise, [])
            found = next((each for each in entries if place not in beside and fits(line, each[1])), None)
            if found:
                entries.remove(found)
                beside[place] = found
    for place, line in enumerate(known):
        yield replace(line, at=beside[place][0], entry=beside[place][1]) if place in beside else line
    for at, entry in (each for rest in left.values() for each in rest):
        kind, currency = kinds.get(entry.of, otherwise), entry.currency
        yield Movement(id="", kind=kind, object=entry.of, at=at, amount=0, currency=currency, entry=entry)


def _is_equal(line: Movement, entry: BalanceEntry) -> bool:
    return (entry.gross, entry.currency) == (line.amount, line.currency)


def _is_alike(line: Movement, entry: BalanceEntry) -> bool:
    """Another amount, as in another currency; but the same way."""
    return (entry.gross > 0) == (line.amount > 0)


def is_settled(found: Iterable[Movement]) -> bool:
    """Whether the balance shows all of it: what was held and let go moved nothing there."""
    left: Counter[str] = Counter()
    for each in found:
        if each.entry is None:
            left[each.object] += each.amount
    return not any(left.values())


def _kinds(of: Books) -> dict[str, str]:
    """What each object is that is no capture, by its id."""
    known = {id_: DISPUTE for id_, _ in things(of.facts, "dispute")}
    return known | {each.id: _kind_of(each) for each in of.refunds}


def _kind_of(refund: Refund) -> str:
    return REVERSAL if refund.is_reversal else REFUND

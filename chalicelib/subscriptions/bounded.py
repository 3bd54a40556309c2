"""How much is kept of a subscription: what it takes to say what holds, and the latest of what happened.

Of each kind of thing the latest by an instant, or an id, that never changes: so that what is kept is the same
in whatever order it was learnt. A line that pays beyond the latest invoice is kept however old it is.
"""

from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.joining import Facts, Fields, things

KEPT = 24  # a monthly one's last two years

Place = Callable[[str, Fields], Any]
BY: Mapping[str, Place] = {
    "invoice": lambda id_, fields: (fields["created"], id_),
    "sale": lambda id_, fields: (fields["paid_at"], id_),
    "change": lambda id_, fields: (fields["changed_at"], id_),
    "spell": lambda id_, fields: id_,
}


def bounded(facts: Facts) -> Facts:
    """The same facts without what is too old to matter."""
    kept = {kind: _latest(facts, kind, place) for kind, place in BY.items()}
    billed = [fields["created"] for _, fields in things(facts, "invoice")]
    latest = max(billed, default=0)
    bills = [f"{kind} {id_}" for kind in ("invoice", "sale") for id_ in kept[kind]]
    paid_by = {f"payment {each}" for thing in bills for each in _paid_by(facts[thing])}

    def is_kept(thing: str, fields: Fields) -> bool:
        kind, _, id_ = thing.partition(" ")
        if kind == "line":
            return id_.partition(" ")[0] in kept["invoice"] or fields["line"][3] > latest
        if kind == "payment":
            return thing in paid_by
        return kind not in kept or id_ in kept[kind]

    return {thing: _spell_of(fields) for thing, fields in facts.items() if is_kept(thing, fields)}


def _spell_of(fields: Fields) -> Fields:
    """Without the instants of before it was last well; of the others the first, and the last."""
    if "past_due_at" not in fields:
        return fields
    told = [at for at in fields["past_due_at"] if at >= fields.get("well_at", 0)]
    return {**fields, "past_due_at": sorted({*told[:KEPT], *told[-KEPT:]})}


def _paid_by(bill: Fields) -> list[str]:
    return [*bill.get("payments", ()), *([bill["payment"]] if "payment" in bill else [])]


def _latest(facts: Facts, kind: str, place: Place) -> set[str]:
    found = sorted(things(facts, kind), key=lambda each: place(*each))
    return {id_ for id_, _ in found[-KEPT:]}

"""Which milestones are news, when new facts make something else of a payment.

Each is notified once; of refunds and captures what is notified adds up to the sum, by whatever events it is
learnt. What a dispute took is notified as lost or as refunded, not as both.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from chalicelib.joining import Facts
from chalicelib.payments.books import Books, Sums
from chalicelib.payments.milestones import Milestone, Reached, reached, refunded
from chalicelib.payments.refunds import Refund


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What new facts make of a payment: the milestones to notify, and by how much its sums moved.

    ``superseded`` names those that were reached and notified to nobody, since they did not hold any more
    when first learnt: they are notified if they come to hold after all. In it is a note too of each refund
    that was notified, and is not known to have succeeded now. ``moved`` is in minor units, by the sum's
    name; what did not move is not in it.
    """

    after: Books
    milestones: tuple[Milestone, ...]
    superseded: tuple[str, ...]
    moved: dict[str, int]

    @property
    def facts(self) -> Facts:
        return self.after.facts

    @property
    def currency(self) -> str | None:
        return self.after.currency


def change(subject: str, before: Books, after: Books, superseded: Iterable[str] = ()) -> Change:
    """From ``before``, for which ``superseded`` was kept, to ``after``."""
    listed = reached(after)
    known = {each.name for each in reached(before)} - {*superseded}
    new = [each for each in listed if each.type not in BY_AMOUNT and each.name not in known]
    passed_over = {name for name in superseded if name.startswith("payment.refunded/")}
    old = _notified(before, {*superseded})
    remembered = _notes(old, before, after)
    as_refunds = _notified_as_refunds(old, after)
    new = [_besides(each, as_refunds) for each in new]
    new += _new_refunds(old, _notified(after, {*passed_over, *remembered}), before, after)
    new += _new_captures(before, after)
    news = sorted((each for each in new if not each.is_superseded), key=lambda each: each.place)
    passed = {each.name for each in new if each.is_superseded}
    return Change(
        after=after,
        milestones=tuple(each.milestone(subject) for each in news),
        superseded=tuple(sorted(passed_over | remembered | passed)),
        moved=_moved(before.sums, after.sums),
    )


BY_AMOUNT = ("payment.refunded", "payment.captured")  # what is notified of them adds up to the sum


def _moved(before: Sums, after: Sums) -> dict[str, int]:
    steps = zip(Sums._fields, before, after, strict=True)
    return {name: then - now for name, now, then in steps if then != now}


def _new_captures(before: Books, after: Books) -> Iterator[Reached]:
    """What was captured more than before, each capture that is new to the total: late ones are part of it."""
    known = before.captures.total
    for each in after.captures.each:
        if each.total > known:
            yield Reached(type="payment.captured", at=each.at, key=str(each.total), amount=each.total - known)
            known = each.total


def _notified_as_refunds(old: list[Refund], after: Books) -> dict[str, int]:
    """By dispute, how much of its money handlers were notified of as refunds, before it was known."""
    notified = {each.id for each in old}
    amounts: dict[str, int] = {}
    for each in after.refunds:
        if each.dispute is not None and each.stands and each.id in notified:
            amounts[each.dispute] = amounts.get(each.dispute, 0) + each.amount
    return amounts


def _besides(new: Reached, notified: dict[str, int]) -> Reached:
    if new.type != "dispute.lost" or not new.amount:
        return new
    return replace(new, amount=max(0, new.amount - notified.get(new.key, 0)))


def _notes(old: list[Refund], before: Books, after: Books) -> set[str]:
    """The notes of refunds that were notified and are not known to have succeeded now.

    They wait for a capture, since others came before them; or a total showed them that are pending.
    """
    open_now = [each for each in after.refunds if each.waits or each.succeeded_at is None]
    notes = {_note(each) for each in open_now} & {_note(each) for each in old}
    known = {each.id for each in before.refunds}
    gone = Counter(each.amount for each in old if each.is_unnamed)
    gone -= Counter(each.amount for each in after.refunds if each.is_unnamed)
    for each in open_now:
        if each.id not in known and gone[each.amount] > 0:
            gone[each.amount] -= 1
            notes.add(_note(each))
    return notes


def notes_of_waiting(of: Books) -> set[str]:
    """Of refunds that were notified before there was a rule by which they wait."""
    return {_note(each) for each in of.refunds if each.waits}


def _note(refund: Refund) -> str:
    """That it was notified. An unnamed one goes by its instant: its number moves when others are learnt."""
    place = f"{refund.charge}@{refund.succeeded_at}" if refund.is_unnamed else refund.id
    return f"notified refund/{place}"


def _notified_as_lost(before: Books, after: Books) -> int:
    """What handlers were notified of as lost, and refunds are known to have paid instead."""
    lost = {each.id: each.held for each in before.disputes if each.outcome == "lost"}
    return sum(max(0, lost.get(each.id, 0) - each.held) for each in after.disputes if each.outcome == "lost")


def _new_refunds(old: list[Refund], now: list[Refund], before: Books, after: Books) -> Iterator[Reached]:
    """The refunds that are new: as many of an amount as there are more of, their sum at most what it grew by.

    So a refund that a running total shows first and an event of its own later, or the other way round, is
    notified once. An unnamed one is named as the payment's n-th refund, n being new with it. ``old`` are
    those that were notified, ``now`` those that are to be.
    """
    more = Counter(each.amount for each in now) - Counter(each.amount for each in old)
    growth = sum(each.amount for each in now) - sum(each.amount for each in old)
    named = {each.id for each in old if not each.is_unnamed}
    seen = {(each.amount, each.succeeded_at) for each in old if each.is_unnamed}
    number = sum(each.is_notifiable for each in after.refunds)
    as_lost = _notified_as_lost(before, after)

    def by_novelty(refund: Refund) -> tuple[bool, bool, bool, str]:
        is_seen = (refund.amount, refund.succeeded_at) in seen
        return is_seen, refund.is_unnamed, refund.is_undone, refund.id

    for each in sorted(now, key=by_novelty):
        if each.id in named or not more[each.amount] or each.amount > growth:
            continue
        more[each.amount] -= 1
        growth -= each.amount
        if each.amount <= as_lost:
            as_lost -= each.amount
            continue
        if each.is_unnamed:
            each = replace(each, id=f"{each.charge}:{number}")
            number -= 1
        yield refunded(each)


def _notified(of: Books, names: set[str]) -> list[Refund]:
    """The refunds that count for handlers: those that succeeded and were not passed over, and the noted."""
    succeeded = [each for each in of.refunds if each.has_succeeded and each.is_notifiable]
    noted = [each for each in of.refunds if not each.has_succeeded and _note(each) in names]
    return [*(each for each in succeeded if refunded(each).name not in names), *noted]

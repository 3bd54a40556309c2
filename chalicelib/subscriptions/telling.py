"""Saying that access began or ended: once for each time, also where only the clock moved.

What was said last is kept with the record, and is no fact: it depends on when somebody looked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chalicelib.payments import Milestone
from chalicelib.subscriptions.access import access, ends_at
from chalicelib.subscriptions.standing import ACTIVE, ENDED, PENDING, TRIALING
from chalicelib.subscriptions.subscription import Subscription
from chalicelib.subscriptions.terms import Terms
from chalicelib.times import DAY, HOUR, from_iso, to_iso

GRANTED, REVOKED, TRIAL_ENDING = "access.granted", "access.revoked", "subscription.trial_ending"
BEFORE = 3 * DAY  # as Stripe announces the end of a trial
KEPT = 10  # times that are listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was said: how often, the last times ``(instant, whether granted)``, and of which trial's end.

    ``unsure_since`` is when it was first not certain what holds.
    """

    count: int = 0
    last: tuple[tuple[int, bool], ...] = ()
    trial: int | None = None
    unsure_since: int | None = None

    @property
    def access(self) -> bool:
        return bool(self.last) and self.last[-1][1]

    def milestones(self, subject: str) -> list[Milestone]:
        """The last times, as milestones."""
        first = self.count - len(self.last) + 1
        return [_milestone(subject, first + n, *each) for n, each in enumerate(self.last)]

    def to_dict(self) -> dict[str, Any]:
        shown = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in shown.items() if value not in (None, 0, ())}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Told":
        last = tuple((at, is_granted) for at, is_granted in fields.get("last", ()))
        return cls(**{**fields, "last": last})


NOTHING_TOLD = Told()


def _milestone(subject: str, number: int, at: int, is_granted: bool) -> Milestone:
    type_ = GRANTED if is_granted else REVOKED
    return Milestone(id=f"{subject}/{type_}/{number}", type=type_, at=to_iso(at))


def tell(of: Subscription, told: Told, now: int, terms: Terms) -> tuple[Told, tuple[Milestone, ...]]:
    """What was said once this is, and the milestones that are news. A test clock's time is its own."""
    at = now if of.test_clock is None else of.updated_at or now
    told = replace(told, unsure_since=None if of.certain else told.unsure_since or at)
    news = []
    is_granted = access(of, at, terms).access
    if is_granted != told.access and not _is_held(of, told, at):
        since = _since(of, at, is_granted, terms)
        told = replace(told, count=told.count + 1, last=(*told.last, (since, is_granted))[-KEPT:])
        news.append(told.milestones(of.id)[-1])
    ends = of.trial_ends_at
    if _announces_no_trial(of) and ends is not None and ends - BEFORE <= at < ends and told.trial != ends:
        told = replace(told, trial=ends)
        id_ = f"{of.id}/{TRIAL_ENDING}/{to_iso(ends)}"
        news.append(Milestone(id=id_, type=TRIAL_ENDING, at=to_iso(ends - BEFORE)))
    return told, tuple(news)


def _is_held(of: Subscription, told: Told, at: int) -> bool:
    """Access is not taken away for a day while it is not certain what holds: the provider is asked first."""
    return told.access and told.unsure_since is not None and at < told.unsure_since + DAY


def _since(of: Subscription, at: int, is_granted: bool, terms: Terms) -> int:
    """When it changed: with what was last heard of it, or by the clock since."""
    told_at = [from_iso(each.at) for each in of.milestones[-1:]]
    heard_at = min(max([of.updated_at or 0, *told_at]) or at, at)
    moved_at = None if is_granted else ends_at(of, heard_at, terms)
    return max(heard_at, min(moved_at or heard_at, at))


def _announces_no_trial(of: Subscription) -> bool:
    return of.provider == "paypal" and of.status == TRIALING


def look_at(of: Subscription, told: Told, now: int, terms: Terms) -> int | None:
    """The next instant at which the clock may change what holds, or the provider is to be asked about it."""
    if of.test_clock is not None:
        return None
    moves = [ends_at(of, now, terms)]
    since = told.unsure_since
    if since is not None:
        moves += [since + HOUR, since + DAY]  # what it holds until then is decided then
        moves += [now + DAY] if of.status not in (PENDING, ENDED) else []
    if of.provider == "paypal":
        moves += _silent(of)
    return min((at for at in moves if at is not None and at > now), default=None)


def _silent(of: Subscription) -> list[int | None]:
    """What PayPal sends no event of: that a trial is about to end, or has, or that nothing was paid."""
    if of.status == TRIALING and of.trial_ends_at is not None:
        return [of.trial_ends_at - BEFORE, of.trial_ends_at + HOUR]
    return [of.period_end + HOUR] if of.status == ACTIVE and of.period_end is not None else []


def needs_asking(of: Subscription, now: int, terms: Terms) -> bool:
    """Whether what holds is to be asked of the provider before the clock decides it."""
    is_silent = any(at is not None and at <= now for at in _silent(of)[-1:]) and of.provider == "paypal"
    return not of.certain or is_silent or (of.status != ENDED and not access(of, now, terms).access)

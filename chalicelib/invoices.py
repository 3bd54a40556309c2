"""An invoice: a record of its own that nobody is shown. It says which payment was for which subscription.

Since API version 2025-03-31 neither names the other: https://docs.stripe.com/changelog/basil/2025-03-31
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from chalicelib.joining import Facts, Rules, fold_by, join_by, largest, union
from chalicelib.payments import Milestone

RULES: Rules = {"subscription": largest, "payments": union, "is_out_of_band": largest}  # subjects; 0 or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From one state of the record to another: nobody is notified of any."""

    facts: Facts
    milestones: tuple[Milestone, ...] = ()
    superseded: tuple[str, ...] = ()
    moved: Mapping[str, int] = field(default_factory=dict)
    currency: str | None = None


def join(a: Facts, b: Facts) -> Facts:
    return join_by(RULES, a, b)


def fold(all_facts: Iterable[Facts]) -> Facts:
    return fold_by(RULES, all_facts)

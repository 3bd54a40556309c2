"""A plan of PayPal's: a record of its own that nobody is shown. Its interval says until when a sale pays.

Subscriptions name it, and not it them: those that are recorded before it wait for it, up to so many.
"""

from collections.abc import Iterable

from chalicelib.joining import Facts, Rules, Value, fold_by, join_by, largest, union

AT_MOST = 20  # that wait: a plan that is never heard of is not to grow with each that is sold


def first_of_all(a: list[Value], b: list[Value]) -> list[Value]:
    return union(a, b)[:AT_MOST]


RULES: Rules = {"offer": largest, "waiting": first_of_all}  # [instant, as text]; subjects


def join(a: Facts, b: Facts) -> Facts:
    return join_by(RULES, a, b)


def fold(all_facts: Iterable[Facts]) -> Facts:
    return fold_by(RULES, all_facts)

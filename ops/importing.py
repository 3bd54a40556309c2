"""History: what a provider's API has from before the stage began, recorded, and notified to nobody."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, cast

from chalicelib.providers.protocol import HistoryApi, Page, ProviderApi
from chalicelib.reconcile import PACE, Reconciler, Summary, What
from chalicelib.times import DAY

BACK = 100 * 365 * DAY  # as far as there is anything
DOLLARS_AN_EVENT = 6.7e-6  # of AWS, without the webhook's own: docs/cost.md


class Estimate(NamedTuple):
    """Of one kind: how many objects, by the first page; ``is_exact``: it was all of them."""

    kind: str
    objects: int
    is_exact: bool
    seconds: float


def estimates(api: HistoryApi, since: int, until: int) -> Iterator[Estimate]:
    """By one question each. Raises ``Unavailable``."""
    for kind in api.kinds():
        page = api.history(kind)(since, until, None)
        count, is_exact = len(page.bodies), page.next is None
        if not is_exact:
            spread = max(1, until - page.oldest)
            count = round(count * (until - since) / spread)
        yield Estimate(kind, count, is_exact, count / max(1, len(page.bodies)) * PACE)


def what(kind: str) -> What:
    """Of that kind all that is listed; where it has come to is noted by its name."""

    def pages(api: ProviderApi) -> Callable[[int, int, str | None], Page]:
        return cast(HistoryApi, api).history(kind)

    return What(f"import {kind}", pages, BACK, {}, is_sent=False)


def run(
    to: Reconciler,
    provider: str,
    api: HistoryApi,
    since: int,
    dry_run: bool,
    step: Callable[[str, Summary], Any],
) -> dict[str, Summary]:
    """Everything of that time, by kind. One that was stopped goes on where it was. Raises ``Unavailable``."""
    found = {}
    for kind in api.kinds():

        def note(summary: Summary, kind: str = kind) -> None:
            step(kind, summary)

        found[kind] = replace(to, what=what(kind)).run(provider, api, since, dry_run, step=note)
    return found

"""History: what a provider's API has from before the stage began, recorded, and notified to nobody."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from chalicelib.providers.protocol import HistoryApi, Page, ProviderApi
from chalicelib.reconcile import Reconciler, Summary, What
from chalicelib.times import DAY

BACK = 100 * 365 * DAY  # as far as there is anything
DOLLARS_AN_EVENT = 6.7e-6  # of AWS, without the webhook's own: docs/cost.md


def what(kind: str) -> What:
    """Of that kind all that is listed; where it has come to is noted by its name."""

    def pages(api: ProviderApi) -> Callable[[int, int, str | None], Page]:
        def page(since: int, until: int, cursor: str | None) -> Page:
            return cast(HistoryApi, api).history(kind, since, until, cursor)

        return page

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

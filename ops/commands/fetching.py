"""``daybook import``: the history that a provider's API has."""

import json
import os
from dataclasses import asdict, replace

import click
from rich.progress import Progress

from chalicelib.errors import Unavailable
from chalicelib.providers import PROVIDERS
from chalicelib.providers.protocol import HistoryApi
from chalicelib.reconcile import Reconciler, Summary
from ops import importing, providers_api
from ops.commands import Failed, beside, consumer, instant, json_option, now, say, stage_option
from ops.stage import connect

NOT_YET = "{provider}'s history cannot be imported: only Stripe's can, so far"


@click.command("import")
@click.argument("provider", type=click.Choice(list(PROVIDERS)))
@click.option("--since", required=True, help="ISO 8601 date or time from which on.")
@click.option("--dry-run", is_flag=True, help="List all of it, and put nothing on the queue.")
@click.option("--yes", is_flag=True, help="Do not ask after the estimate.")
@stage_option
@json_option
def import_(provider: str, since: str, dry_run: bool, yes: bool, stage: str, as_json: bool) -> None:
    """Record what PROVIDER's API has from before the stage began; nobody is notified of any of it.

    \b
    daybook import stripe --since 2024-01-01

    Payments, charges, refunds, disputes, subscriptions (canceled ones too) and paid invoices, each as an
    event of its own. It can be stopped, and goes on where it was with the same --since; once more changes
    nothing. Fees, net and payouts: daybook reconcile --balance --since.
    """
    reached = connect(stage, os.environ)
    api = providers_api.stage_apis(reached, os.environ).get(provider)
    if api is None:
        raise Failed(providers_api.NO_KEYS.format(secret=reached.names.secret))
    if not isinstance(api, HistoryApi):
        raise Failed(NOT_YET.format(provider=provider))
    to = consumer(reached)
    began, begins = to.began() or now(), instant(since)
    if begins >= began:
        raise Failed("the stage has listened since then: daybook reconcile gets what never came")
    reconciler = replace(providers_api.reconciler(reached, to, os.environ), until=began)
    try:
        _estimate(api, begins, began, ask=not (yes or dry_run))
        found = _run(reconciler, provider, api, begins, dry_run)
    except Unavailable as error:
        raise Failed(f"{provider}: {error}; the same command goes on where it was") from None
    if as_json:
        click.echo(json.dumps({kind: asdict(each) for kind, each in found.items()}, indent=2))
        return
    for kind, each in found.items():
        done = "to be recorded" if dry_run else "recorded"
        new = len(each.missing) if dry_run else each.recovered
        say(f"{kind}: {each.listed} listed, {each.known} known, {new} {done}")


def _estimate(api: HistoryApi, since: int, until: int, ask: bool) -> None:
    """By one question of each kind, before it begins."""
    all_of_them = list(importing.estimates(api, since, until))
    for each in all_of_them:
        about = "" if each.is_exact else "about "
        say(f"{each.kind}: {about}{each.objects}", err=True)
    objects = sum(each.objects for each in all_of_them)
    minutes = sum(each.seconds for each in all_of_them) / 60
    dollars = objects * importing.DOLLARS_AN_EVENT
    say(f"{objects} objects, {minutes:.0f} minutes of listing at least, ${dollars:.2f} of AWS", err=True)
    if ask and objects:
        click.confirm("import them?", abort=True, err=True)


def _run(to: Reconciler, provider: str, api: HistoryApi, since: int, dry_run: bool) -> dict[str, Summary]:
    with Progress(console=beside(), transient=True) as progress:
        tasks = {kind: progress.add_task(kind, total=None) for kind in api.kinds()}

        def step(kind: str, summary: Summary) -> None:
            progress.update(tasks[kind], completed=summary.listed)

        return importing.run(to, provider, api, since, dry_run, step)

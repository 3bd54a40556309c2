"""``daybook import``: the history that a provider's API has."""

import json
import os
from dataclasses import asdict, replace
from functools import partial

import click
from rich.progress import Progress, track

from chalicelib import accounts
from chalicelib.errors import Unavailable
from chalicelib.providers import PROVIDERS
from chalicelib.providers.protocol import HistoryApi
from chalicelib.reconcile import PACE, Reconciler, Summary
from chalicelib.times import to_iso
from ops import importing, providers_api
from ops.commands import Failed, beside, consumer, instant, json_option, now, say, stage_option
from ops.stage import Stage, connect

NONE_LISTED = "{provider}'s history cannot be imported: its API lists none"


@click.command("import")
@click.argument("provider", type=click.Choice(list(PROVIDERS)))
@click.option("--since", required=True, help="ISO 8601 date or time from which on.")
@click.option("--account", help="Only that one of the stage's accounts, or own. [default: each of them]")
@click.option("--dry-run", is_flag=True, help="List all of it, and put nothing on the queue.")
@click.option("--yes", is_flag=True, help="Do not ask after the estimate.")
@stage_option
@json_option
def import_(
    provider: str, since: str, account: str | None, dry_run: bool, yes: bool, stage: str, as_json: bool
) -> None:
    """Record what PROVIDER's API has from before the stage began; nobody is notified of any of it.

    \b
    daybook import stripe --since 2024-01-01
    daybook import paypal --since 2024-01-01

    Payments, refunds, reversals, disputes and subscriptions (canceled ones too), each as an event of its own.
    PayPal lists three years of transactions, half a year of disputes, and of subscriptions those that were
    paid. It can be stopped, and goes on where it was with the same --since; once more changes nothing. Fees,
    net and payouts: daybook reconcile --balance --since.
    """
    reached = connect(stage, os.environ)
    apis = _apis(reached, provider, account)
    to = consumer(reached)
    began, begins = to.began() or now(), instant(since)
    if begins >= began:
        raise Failed("the stage has listened since then: daybook reconcile gets what never came")
    reconciler = replace(providers_api.reconciler(reached, to, os.environ), until=began)
    found: dict[str, Summary] = {}
    failed: list[str] = []
    for key, api in apis.items():
        try:
            _estimate(reconciler, key, api, begins, began, ask=not (yes or dry_run))
            done = _run(reconciler, key, api, begins, dry_run)
        except Unavailable as error:  # one account's is nothing to the others
            failed.append(f"{key}: {error}")
            continue
        of = accounts.named(key)[1]
        found |= {f"{of} {kind}" if of else kind: each for kind, each in done.items()}
    _say_imported(found, dry_run, as_json)
    if not dry_run and any(each.recovered for each in found.values()):
        say("the stage itself records what is queued; daybook parked shows what it could not", err=True)
    if failed:
        raise Failed(f"{'; '.join(failed)}; the same command goes on where it was")


def _say_imported(found: dict[str, Summary], dry_run: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({kind: asdict(each) for kind, each in found.items()}, indent=2))
        return
    for kind, each in found.items():
        done = "to be queued" if dry_run else "queued"
        new = each.new if dry_run else each.recovered
        say(f"{kind}: {each.listed} listed, {each.known} known, {new} {done}")


def _apis(stage: Stage, provider: str, account: str | None) -> dict[str, HistoryApi]:
    """By account. Raises ``Failed`` where there is none that can be asked."""
    found = providers_api.stage_listings(stage, os.environ, provider)
    names = {accounts.named(key)[1] or "own": key for key in found}
    if account is not None and found:
        if account not in names:
            raise Failed(f"no account {account} with API keys of {provider}; there are {', '.join(names)}")
        found = {names[account]: found[names[account]]}
    if not found:
        raise Failed(providers_api.NO_KEYS.format(secret=stage.names.secret))
    apis = {key: api for key, api in found.items() if isinstance(api, HistoryApi)}
    if not apis:
        raise Failed(NONE_LISTED.format(provider=provider))
    return apis


def _estimate(to: Reconciler, key: str, api: HistoryApi, since: int, until: int, ask: bool) -> None:
    """By a few questions of each kind, before it begins."""
    expected = {
        kind: to.patiently(partial(api.expected, kind, since, until))
        for kind in track(api.kinds(), description="estimating", console=beside(), transient=True)
    }
    for kind, each in expected.items():
        number = str(each.objects) if each.is_exact else f"about {each.objects}" if each.objects else "any"
        from_when = f", from {to_iso(each.since)[:10]} on" if each.since > since else ""
        say(f"{kind}: {number}{from_when}", err=True)
    objects = sum(each.objects for each in expected.values())
    questions = sum(each.questions for each in expected.values())
    dollars = objects * importing.DOLLARS_AN_EVENT
    minutes = questions * PACE / 60
    takes = f"{questions} questions, {minutes:.0f} minutes at least, ${dollars:.2f} of AWS"
    say(f"{objects} objects: {takes}", err=True)
    if ask and objects:
        click.confirm(f"import them from {key}?", abort=True, err=True)


def _run(to: Reconciler, provider: str, api: HistoryApi, since: int, dry_run: bool) -> dict[str, Summary]:
    with Progress(console=beside(), transient=True) as progress:
        tasks = {kind: progress.add_task(kind, total=None) for kind in api.kinds()}

        def step(kind: str, summary: Summary) -> None:
            progress.update(tasks[kind], completed=summary.listed)

        return importing.run(to, provider, api, since, dry_run, step)

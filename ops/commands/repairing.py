"""``daybook replay``, ``redrive``, ``reconcile``, ``forget``: what changes something."""

import difflib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from typing import Any

import click
from rich.progress import Progress, TaskID, track

from chalicelib import beginning
from chalicelib.errors import HandlerFailed, HandlersBusy, Refused, Unavailable
from chalicelib.listing import named
from chalicelib.parking import ParkedEvent
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import MILESTONES, Task
from chalicelib.reconcile import BALANCE, Summary
from chalicelib.recording import Consumer
from chalicelib.undelivered import Undelivered
from ops import forget as forgetting
from ops import providers_api
from ops import replay as replaying
from ops.commands import FOUND, Failed, beside, consumer, instant, json_option, now, say, stage_option
from ops.redrive import Redrive, deliver_anew, deliver_to
from ops.stage import Stage, connect

REPLAY = 300_000  # milliseconds that replayed handlers may take


@click.command()
@click.argument("id_", metavar="[SUBJECT|EVENT]", required=False)
@click.option("--again", is_flag=True, help="Run all of its handlers, also those that have handled it.")
@click.option("--since", help="Instead of an id: of all milestones since this ISO 8601 date or time.")
@click.option("--until", help="With --since. [default: now]")
@click.option("--milestone", help="With --since: only this type, such as payment.succeeded.")
@click.option("--type", "type_", help="With --since: raw events of it, such as stripe.charge.refunded.")
@click.option("--subject", help="With --since: only this record, as provider:id.")
@click.option("--handler", help="With --since: only this handler.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="With --since: records a second.")
@click.option("--after", help="With --since: go on after this record, where a run was stopped.")
@click.option("--dry-run", is_flag=True, help="With --since: only say how many there are.")
@click.option("--yes", is_flag=True, help="Do not ask before --again or --since.")
@stage_option
@json_option
def replay(id_: str | None, again: bool, yes: bool, stage: str, as_json: bool, **given: Any) -> None:
    """Run the handlers that are left of SUBJECT (provider:id) or of one EVENT, in order.

    \b
    daybook replay stripe:pi_3P…                  what is left of a payment
    daybook replay evt_1Q… --again                all that this event proves, once more
    daybook replay --since 2026-11-01 --dry-run   what handlers would be notified of on purpose: also of
                                                  what is from before the stage began to listen

    What handlers are notified of by --again or --since says so: milestone.replay, event.is_replay, and
    "replay": true on the bus. Ctrl-C stops between two records, and says how to go on.
    """
    reached = connect(stage, os.environ)
    running = consumer(reached)
    if (id_ is None) == (given["since"] is None):
        raise click.UsageError("say what to replay: an id, or --since")
    if id_ is None:
        _replay_since(running, yes, as_json, **given)
    else:
        _replay_one(reached, running, id_, again, yes, as_json)


def _replay_since(running: Consumer, yes: bool, as_json: bool, **given: Any) -> None:
    since, until = instant(given["since"]), instant(given["until"]) if given["until"] else now()
    _check_filters(running, since, until, given)
    chosen = replaying.Period(
        since=since,
        until=until,
        milestone=given["milestone"],
        handler=given["handler"],
        type=given["type_"],
        subject=given["subject"],
    )
    found = list(track(chosen.found(running), description="looking", console=beside(), transient=True))
    if given["after"]:
        found = after(found, given["after"])
    counts = Counter(f"{handler} ({task.type})" for _, task, names in found for handler in names)
    if given["dry_run"] or not found:
        _say_found(found, counts, as_json)
        return
    if not yes:
        question = f"run {counts.total()} handlers? each may already have had its effect"
        click.confirm(question, abort=True, err=True)
    run(running, replaying.by_subject(found), given["rate"], as_json)


def _check_filters(running: Consumer, since: int, until: int, given: Mapping[str, Any]) -> None:
    """Raises ``click.UsageError``: of what cannot be, nothing would be found."""
    if since > until:
        raise click.UsageError("--since is after --until")
    handlers = {each.name for each in running.handlers}
    if given["handler"] and given["handler"] not in handlers:
        raise click.UsageError(f"no handler {given['handler']}; there are {', '.join(sorted(handlers))}")
    if given["milestone"] and given["milestone"] not in MILESTONES:
        near = difflib.get_close_matches(given["milestone"], MILESTONES, 1)
        raise click.UsageError(
            f"no milestone {given['milestone']}" + (f"; {near[0]} is near" if near else "")
        )
    if given["subject"] and given["subject"].partition(":")[0] not in PROVIDERS:
        raise click.UsageError(f"{given['subject']} is not provider:id, as daybook list shows it")


def after(found: list[replaying.Found], subject: str) -> list[replaying.Found]:
    """Those after that record. Raises ``click.UsageError`` where it is not among them."""
    subjects = [each for each, *_ in found]
    if subject not in subjects:
        raise click.UsageError(f"{subject} is not among these: --after takes what a stopped run said")
    last = len(subjects) - 1 - subjects[::-1].index(subject)
    return found[last + 1 :]


def run(running: Consumer, found: list[tuple[str, list[Task]]], rate: float | None, as_json: bool) -> None:
    """One record after the other. Ctrl-C stops between two, and says where to go on."""
    ran, failed, last, is_stopped = 0, [], "", False
    try:
        for subject, tasks in track(found, description="running", console=beside(), transient=True):
            try:
                ran += replaying.notify(running, subject, tasks, now() + REPLAY)
            except (HandlersBusy, HandlerFailed) as error:  # it does not hold up the others
                failed.append(f"{subject}: {error}")
            last = subject
            if rate:
                time.sleep(1 / rate)
    except KeyboardInterrupt:
        is_stopped = True
    if as_json:
        place = {"after": last} if is_stopped else {}
        click.echo(json.dumps({"ran": ran, "failed": failed, **place}, indent=2))
    else:
        say(f"{ran} handlers ran")
    if is_stopped:
        raise Failed(f"stopped: {f'--after {last}' if last else 'the same command'} goes on")
    if failed:
        raise Failed(f"left, `daybook replay SUBJECT` runs them: {'; '.join(failed)}")


def _say_found(found: list[replaying.Found], counts: Counter[str], as_json: bool) -> None:
    records = len({subject for subject, *_ in found})
    if as_json:
        click.echo(json.dumps({"payments": records, "would_run": counts}, indent=2))
        return
    for name, count in sorted(counts.items()):
        say(f"{name}: {count}")
    say(f"{counts.total()} would run, of {records} records")


def _replay_one(stage: Stage, running: Consumer, id_: str, again: bool, yes: bool, as_json: bool) -> None:
    chosen = replaying.choose(running, id_)
    if again:
        _confirm_again(running, chosen, yes)
    try:
        ran = replaying.replay(running, chosen, again, now() + REPLAY)
    except HandlersBusy:
        raise Failed("its handlers are running now; try again when their time is up") from None
    except HandlerFailed as error:
        raise Failed(f"{error}; the rest is left, `daybook replay {id_}` runs it") from None
    targets = _sent_anew(stage, running, chosen.subject)
    if as_json:
        told = {"targets": targets} if targets else {}
        click.echo(json.dumps({"subject": chosen.subject, "ran": ran, **told}))
        return
    say(f"{ran} handlers ran for {chosen.subject}")
    if targets:
        say(f"what waits is sent anew to {', '.join(targets)}")
    left = replaying.unknown(running, chosen)
    if left:
        say(f"left, since no handler in this checkout handles it: {', '.join(left)}", err=True)


def _sent_anew(stage: Stage, running: Consumer, subject: str) -> list[str]:
    """The targets for which something of a record waits: it is sent to them at once."""
    waiting, wakeups = list(running.ledger.undelivered.of(subject)), stage.wakeups()
    for each in waiting:
        deliver_anew(running.ledger, wakeups, each, now())
    return [each.target for each in waiting]


def _confirm_again(running: Consumer, chosen: replaying.Chosen, yes: bool) -> None:
    names = list(replaying.names(running, chosen))
    say(f"{chosen.subject}: {', '.join(names) or 'no handler handles anything of it'}", err=True)
    if names and not yes:
        click.confirm("run these again? each may already have had its effect", abort=True, err=True)


@click.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that is parked.")
@click.option("--dry-run", is_flag=True, help="Say what each would change, and send nothing.")
@click.option(
    "--to", metavar="TARGET", help="What is parked for a target that is none any more: to this one."
)
@stage_option
@json_option
def redrive(
    ids: tuple[str, ...], every: bool, dry_run: bool, to: str | None, stage: str, as_json: bool
) -> None:
    """Send parked events, by their ids or --all, through the queue and the consumer again; and what is parked
    for a target (TARGET/SUBJECT) to that again.

    One that is distrusted stays parked, unless its provider can be asked about it; then the exit code is 3.
    """
    if bool(ids) == every:
        raise click.UsageError("give the IDs that `daybook parked` shows, or --all")
    reached = connect(stage, os.environ)
    known = {each.name for each in reached.settings(os.environ).targets}
    if to is not None and to not in known:
        raise click.BadParameter(f"is no target of stage {stage}", param_hint="--to")
    asks = cache(lambda: providers_api.stage_apis(reached, os.environ))
    ledger = reached.ledger()
    began = cache(lambda: beginning.began(ledger, now()))
    again = Redrive(ledger, reached.inbox(), now, asks, began)
    events = [each for each in ledger.parking.parked() if every or each.event_id in ids]
    deliveries = [each for each in ledger.undelivered.parked() if every or each.id in ids]
    if to is not None:  # nobody of its name will ever take it
        waiting = (ledger.undelivered.read(each) for each in ledger.undelivered.waiting(now()))
        all_of_it = [*ledger.undelivered.parked(), *(each for each in waiting if each.tasks)]
        chosen = [each for each in all_of_it if each.id in ids or (every and each.target not in known)]
        events, deliveries = [], chosen
    missing = set(ids) - {each.event_id for each in events} - {each.id for each in deliveries}
    if missing:
        raise Failed(f"not parked: {', '.join(sorted(missing))}; `daybook parked` shows what is")
    if dry_run:
        would = [_row(each.event_id, each.subject, list(again.preview(each))) for each in events]
        would += [_row(each.id, each.subject, [f"is sent {', '.join(each.types)}"]) for each in deliveries]
        _print_changes(would, as_json)
        return
    sent = [*_resent(again, events, as_json), *_delivered(reached, deliveries, to)]
    if as_json:
        click.echo(json.dumps({"sent": len(sent), "events": sent}, indent=2))
    else:
        say(f"{len(sent)} sent again")
    if len(sent) < len(events) + len(deliveries):
        sys.exit(FOUND)


def _resent(again: Redrive, events: list[ParkedEvent], quiet: bool) -> Iterator[dict[str, Any]]:
    """Those that were sent; why others were not is said."""
    for each in track(events, description="redriving", console=beside(), disable=quiet):
        try:
            again.send(each)
        except Refused as refusal:
            say(str(refusal), err=True)
            continue
        yield _row(each.event_id, each.subject)


def _delivered(stage: Stage, deliveries: list[Undelivered], to: str | None) -> Iterator[dict[str, Any]]:
    ledger, wakeups = stage.ledger(), stage.wakeups()
    for each in deliveries:
        if to is None or to == each.target:
            deliver_anew(ledger, wakeups, each, now())
        else:
            deliver_to(ledger, wakeups, each, to, now())
        yield _row(each.id, each.subject)


def _row(id_: str, subject: str, would: Sequence[str] = ()) -> dict[str, Any]:
    return {"id": id_, "subject": subject, "would": list(would)}


def _print_changes(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"sent": 0, "events": rows}, indent=2))
        return
    for row in rows:
        say(f"{row['id']}  {row['subject']}")
        for line in row["would"]:
            say(f"  {line}")
    say(f"{len(rows)} would be sent")


@click.command()
@click.option("--customer", required=True, metavar="ID", help="cus_…, or a PayPal payer id; or provider:id.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@stage_option
@json_option
def forget(customer: str, yes: bool, stage: str, as_json: bool) -> None:
    """Remove the raw bodies of a customer's events, and their references. Payments, totals and ids stay.

    \b
    Exits with 3 where parked events of the customer hold bodies too: redrive them, then forget again.
    """
    ledger = connect(stage, os.environ).ledger()
    found = [forgetting.traces(ledger, name) for name in named(customer)]
    events = [event for each in found for event in each.events]
    parked = [event for each in found for event in each.parked]
    subjects = [subject for each in found for subject in each.payments]
    payments = len(subjects)
    say(f"{customer}: {payments} payments, {len(events)} bodies, in stage {stage}", err=as_json)
    if (events or subjects) and not yes:
        question = "remove these bodies, and what people wrote? nothing brings them back"
        click.confirm(question, abort=True, err=as_json)
    for subject, event_id in track(events, description="removing", console=beside()):
        ledger.remove_body(subject, event_id)
    for subject in subjects:  # afterwards: no body is left that would say it again
        forgetting.forget_labels(ledger, subject, now())
    if as_json:
        left = [{"id": event_id, "subject": subject} for subject, event_id in parked]
        click.echo(json.dumps({"payments": payments, "removed": len(events), "parked": left}, indent=2))
        sys.exit(FOUND if parked else 0)
    say(f"removed {len(events)}; payments and totals stay")
    for subject, event_id in parked:
        say(
            f"parked, and kept: {event_id} of {subject};"
            f" `daybook redrive {event_id} --stage {stage}`, then forget again"
        )
    if parked:
        sys.exit(FOUND)


@click.command()
@click.option(
    "--provider", type=click.Choice(list(PROVIDERS)), help="Only this one. [default: all with keys]"
)
@click.option("--since", help="ISO 8601 date or time. [default: where the last run ended, or 30 days]")
@click.option("--balance", is_flag=True, help="Fees, net and transfers, which no webhook carries, instead.")
@click.option("--dry-run", is_flag=True, help="Only say what is missing; exits with 3 where anything is.")
@stage_option
@json_option
def reconcile(
    provider: str | None, since: str | None, balance: bool, dry_run: bool, stage: str, as_json: bool
) -> None:
    """Find events that the provider has and that never came, and put them on the queue.

    Needs API keys in the stage's secret: a restricted stripe_api_key that may read events;
    paypal_client_id and paypal_client_secret. A run that is stopped goes on where it was.
    With --balance: what the provider's balance shows, as the stage reads it by itself once an hour;
    --since reads what is older than 30 days.
    """
    reached = connect(stage, os.environ)
    listings = providers_api.stage_listings(reached, os.environ, provider)
    if not listings:
        raise Failed(providers_api.NO_KEYS.format(secret=reached.names.secret))
    of_events = providers_api.reconciler(reached, consumer(reached), os.environ)
    running = replace(of_events, what=BALANCE) if balance else of_events
    began = instant(since) if since else None
    found: dict[str, Summary] = {}
    failed: dict[str, str] = {}
    with Progress(console=beside(), transient=True) as progress:
        for name, listing in listings.items():
            task = progress.add_task(f"{name}'s {'balance' if balance else 'events'}", total=None)

            def step(summary: Summary, task: TaskID = task) -> None:
                progress.update(task, completed=summary.listed)

            try:
                found[name] = running.run(name, listing, began, dry_run, step=step)
            except Unavailable as error:  # it does not hold up the other
                failed[name] = str(error)
    _say_reconciled(found, as_json)
    if failed:
        raise Failed("; ".join(f"{name}: {why}" for name, why in failed.items()))
    if dry_run and any(each.new for each in found.values()):
        sys.exit(FOUND)


def _say_reconciled(found: dict[str, Summary], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({name: asdict(each) for name, each in found.items()}, indent=2))
        return
    for name, each in found.items():
        for event_id in each.missing:
            say(f"missing: {event_id}")
        say(
            f"{name}: {each.listed} listed, {each.known} known, {each.new} missing,"
            f" {each.recovered} recovered, {each.notified} of them to be notified"
        )

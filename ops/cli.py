"""The ``daybook`` command."""

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table

from chalicelib import listing, money
from chalicelib.errors import AwsError, HandlerFailed, HandlersBusy, NotFound, Refused
from chalicelib.inbox import Inbox
from chalicelib.ledger import PAYMENT, Ledger
from chalicelib.outbox import run_left
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers, registered
from chalicelib.settings import LOCAL_CREDENTIALS
from chalicelib.telemetry import Telemetry
from chalicelib.times import to_iso
from chalicelib.webhooks import Consumer
from ops import forget as forgetting
from ops import package as packages
from ops import sender, stories
from ops import verify as verifier
from ops.deploy import Deployment
from ops.redrive import Redrive
from ops.stage import PORT, SIMULATOR_SECRET, Stage, connect, port

FAILED = 1
FOUND = 3
REPLAY = 300_000  # milliseconds that replayed handlers may take
MANY = 50  # deliveries from which a progress bar is shown

T = TypeVar("T")

stage_option = click.option("--stage", default="local", show_default=True, help="Which Daybook.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Failed(click.ClickException):
    """Ends the command with one line on what went wrong and what to do next."""

    exit_code = FAILED


class Commands(click.Group):
    """Turns what AWS or the ledger refuse into one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Refused as refused:
            raise Failed(str(refused)) from None
        except (AwsError, BotoCoreError, ClientError) as error:
            hint = "is `make run` running?" if "connect" in str(error).lower() else ""
            raise Failed(f"AWS: {error} {hint}".strip()) from None


@click.group(cls=Commands)
def main() -> None:
    """Daybook: send test webhooks, and look at what was recorded."""


@main.command()
@click.argument("provider", type=click.Choice(list(PROVIDERS)))
@click.argument("type_", metavar="[TYPE]", required=False)
@click.option("--story", type=click.Choice(stories.STORIES), help="A whole story instead of one TYPE.")
@click.option("--amount", default=5000, show_default=True, help="In minor units (cents).")
@click.option("--currency", default="EUR", show_default=True, help="ISO 4217 code.")
@click.option("--id", "object_id", help="The payment's id (pi_…, or a PayPal capture). [default: a new one]")
@click.option("--repeat", default=1, show_default=True, help="Send every event that many times.")
@click.option("--shuffle", is_flag=True, help="Send in random order.")
@click.option("--seed", type=int, help="Same seed, same ids and order.")
@click.option("--url", help="Daybook's address. [default: http://127.0.0.1:$PORT]")
@click.option("--secret", help="Stripe's signing secret, or PayPal's webhook id. [default: stage local's]")
def send(
    provider: str,
    type_: str | None,
    story: str | None,
    amount: int,
    currency: str,
    object_id: str | None,
    repeat: int,
    shuffle: bool,
    seed: int | None,
    url: str | None,
    secret: str | None,
) -> None:
    """Sign and send realistic events of PROVIDER: one of a TYPE, or a --story.

    \b
    daybook send stripe payment_intent.succeeded --amount 1999 --currency USD
    daybook send paypal --story partial-refunds --repeat 3 --shuffle
    """
    if (type_ is None) == (story is None):
        raise click.UsageError("give an event TYPE or a --story")
    rng = random.Random(seed)  # noqa: S311 - ids for tests, no secrets
    subject, events = _tell(provider, rng, amount, currency, object_id, story, type_)
    bodies = [json.dumps(event).encode() for event in events for _ in range(repeat)]
    if shuffle:
        rng.shuffle(bodies)
    signer = _signer(provider, secret, os.environ, rng)
    address = url or f"http://127.0.0.1:{_port(os.environ)}"
    started = time.monotonic()
    tally = _send(bodies, f"{address.rstrip('/')}/webhooks/{provider}", signer)
    seconds = time.monotonic() - started
    click.echo(
        f"sent {tally.sent}, accepted {tally.accepted}, refused {tally.refused}, {seconds:.2f} s: {subject}"
    )
    if tally.unreachable:
        raise Failed(f"no answer from {address} to {tally.unreachable}; is `make run` running?")
    if tally.refused:
        raise Failed(f"{tally.refused} refused; the app's log says why")


def _tell(
    provider: str,
    rng: random.Random,
    amount: int,
    currency: str,
    object_id: str | None,
    story: str | None,
    type_: str | None,
) -> tuple[str, list[dict[str, Any]]]:
    if amount < 1:
        raise click.BadParameter("is not above 0", param_hint="--amount")
    try:
        money.exponent(currency.upper())
    except ValueError:
        raise click.BadParameter(f"{currency} is no ISO 4217 code", param_hint="--currency") from None
    try:
        start = _now() - 60_000
        return stories.tell(provider, rng, start, amount, currency, id=object_id, story=story, type_=type_)
    except stories.UnknownType as error:
        raise click.UsageError(str(error)) from None


def _port(environ: Mapping[str, str]) -> int:
    try:
        return port(environ, "PORT", PORT)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _now() -> int:
    return time.time_ns() // 1_000_000


def _signer(
    provider: str, secret: str | None, environ: Mapping[str, str], rng: random.Random
) -> sender.Signer:
    if provider == "stripe":
        name = "stripe_webhook_secrets"
        default = environ.get(name.upper(), LOCAL_CREDENTIALS[name]).split(",")[0].strip()
        return sender.StripeSigner(secret or default)
    client = connect("local", environ).client("secretsmanager")
    simulator = client.get_secret_value(SecretId=SIMULATOR_SECRET)["SecretString"]
    return sender.PayPalSigner.from_simulator(simulator, secret, rng)


def _send(bodies: list[bytes], url: str, signer: sender.Signer) -> sender.Tally:
    with Progress(disable=len(bodies) < MANY, console=Console(stderr=True)) as progress:
        task = progress.add_task("sending", total=len(bodies))
        return sender.send_all(bodies, url, signer, _now, lambda: progress.advance(task))


@main.command()
@click.argument("id_", metavar="ID")
@stage_option
@json_option
def show(id_: str, stage: str, as_json: bool) -> None:
    """Print one payment and its events. ID is a payment's, an object's or a provider event's."""
    found = _find(connect(stage, os.environ), id_)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    _print_payment(_console(), found)


def _find(stage: Stage, id_: str) -> dict[str, Any]:
    """The payment by its id, with or without its provider, or by the id of one of its events."""
    ledger = stage.ledger()
    provider, _, rest = id_.partition(":")
    names = [(provider, rest)] if provider in PROVIDERS else [(each, id_) for each in PROVIDERS]
    for name, object_id in names:
        for subject in (f"{name}:{object_id}", *_subjects(ledger, f"{name}:{object_id}")):
            payment = _payment(ledger, subject)
            if payment:
                return payment
    raise NotFound(f"no payment and no event {id_} in stage {stage.name}")


def _subjects(ledger: Ledger, reference: str) -> list[str]:
    of_event = ledger.subject_of(reference)
    return [of_event] if of_event else ledger.referred(reference)


def _payment(ledger: Any, subject: str) -> dict[str, Any] | None:
    """The payment, or for a subject that moves no money its events alone; ``None`` if there are none."""
    provider, _, object_id = subject.partition(":")
    try:
        return listing.payment(ledger, provider, object_id)
    except NotFound:
        events = [event.to_dict() for event in ledger.events(subject)]
        return {"id": subject, "provider": provider, "events": events} if events else None


def _print_payment(console: Console, found: Mapping[str, Any]) -> None:
    console.print(f"[bold]{found['id']}[/]  {found.get('status', 'no payment, events only')}")
    if "status" in found:
        currency = found["currency"] or ""
        for name in ("amount", "authorized", "captured", "refunded", "disputed", "net"):
            console.print(f"  {name:<11}{money.display(found[name], currency):>16}", highlight=False)
        if not found["consistent"]:
            console.print("  [red]not consistent[/]: more given back than captured, or two currencies")
        for kind, ids in found["related"].items():
            console.print(f"  {kind:<11}{', '.join(ids)}", highlight=False)
    for title, rows in (("milestone", _milestones(found)), ("event", found["events"])):
        if rows:
            console.print(_rows(title, rows))


def _milestones(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """Without the payment's own id, which every milestone's id starts with."""
    own = found["id"] + "/"
    return [{**each, "id": each["id"].removeprefix(own)} for each in found.get("milestones", [])]


def _rows(title: str, rows: list[dict[str, str]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="dim")
    for name in ("at", title, "id"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(row.get("at") or row["created_at"], row["type"], row["id"])
    return table


@main.command("list")
@click.option("--status", help="Only those of this status.")
@click.option("--provider", type=click.Choice(list(PROVIDERS)))
@click.option("--since", help="ISO 8601 date or time.")
@click.option("--until", help="ISO 8601 date or time.")
@click.option("--limit", default=20, show_default=True, help="How many, 100 at most.")
@click.option("--cursor", help="Where the page before ended.")
@stage_option
@json_option
def list_(stage: str, as_json: bool, **given: Any) -> None:
    """Print the latest payments, newest first."""
    parameters = {name: str(value) for name, value in given.items() if value is not None}
    page = listing.payments(connect(stage, os.environ).ledger(), listing.parse(parameters))
    if as_json:
        click.echo(json.dumps(page, indent=2))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("created", "status", "captured", "net", "payment"):
        table.add_column(title, no_wrap=True, justify="right" if title in ("captured", "net") else "left")
    for payment in page["payments"]:
        show_amount = _amounts(payment["currency"] or "")
        table.add_row(
            payment["created_at"],
            payment["status"],
            show_amount(payment["captured"]),
            show_amount(payment["net"]),
            payment["id"],
        )
    _console().print(table)
    if page["cursor"]:
        click.echo(f"more: --cursor {page['cursor']}", err=True)


def _console() -> Console:
    """Wide enough for the longest ids: a terminal wraps a line, but nothing is cut off."""
    return Console(width=250, highlight=False)


@main.command()
@click.option("--subject", help="Only that payment, as provider:id. [default: the whole table]")
@click.option("--repair", "mend", is_flag=True, help="Write each drifted payment anew from its events.")
@stage_option
@json_option
def verify(subject: str | None, mend: bool, stage: str, as_json: bool) -> None:
    """Check that each stored payment is what its events say. Exits with 3 where one is not."""
    ledger = connect(stage, os.environ).ledger()
    found = list(_drifts(ledger, [_known(ledger, subject)] if subject else ledger.subjects()))
    if as_json:
        rows = [{"subject": d.subject, "differences": list(d.differences())} for d in found]
        click.echo(json.dumps(rows, indent=2))
    else:
        _print_drifts(found)
    if mend:
        told = sum(verifier.repair(ledger, each, _registered(), _now()) for each in found)
        click.echo(f"repaired {len(found)}; {told} milestones wait for `daybook replay`", err=True)
        return
    if found:
        sys.exit(FOUND)


def _known(ledger: Ledger, subject: str) -> str:
    """``subject`` if anything is recorded of it."""
    if subject.partition(":")[0] not in PROVIDERS:
        raise click.BadParameter("is not provider:id, as `daybook list` shows it", param_hint="--subject")
    if next(ledger.events(subject), None) is None:
        raise NotFound(f"no events of {subject}")
    return subject


def _drifts(ledger: Ledger, subjects: Iterable[str]) -> Iterator[verifier.Drift]:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("verifying", total=None)
        for subject in subjects:
            found = verifier.drift(ledger, subject)
            if found:
                yield found
            progress.advance(task)


def _print_drifts(found: list[verifier.Drift]) -> None:
    for each in found:
        click.echo(each.subject)
        for name, stored, right in each.differences():
            click.echo(f"  {name}: stored {json.dumps(stored)}, its events say {json.dumps(right)}")
    click.echo(f"{len(found)} drifted" if found else "no drift")


@main.command()
@click.argument("subject")
@stage_option
def replay(subject: str, stage: str) -> None:
    """Run the handlers that are left of SUBJECT (provider:id), in the order of its outbox."""
    reached = connect(stage, os.environ)
    consumer = _consumer(reached)
    entries = [PAYMENT, *(f"event:{event.id}" for event in consumer.ledger.events(subject))]
    if len(entries) == 1:
        raise NotFound(f"no events of {subject} in stage {stage}")
    try:
        ran = sum(run_left(subject, entry, _now() + REPLAY, consumer.runner) for entry in entries)
    except HandlersBusy:
        raise Failed("its handlers are running now; try again when their time is up") from None
    except HandlerFailed as error:
        raise Failed(f"{error}; the rest is left, `daybook replay {subject}` runs it") from None
    for entry in entries[1:]:  # recorded, and now heard: no longer set aside
        consumer.ledger.forget_failure(subject, entry.partition(":")[2])
    click.echo(f"{ran} handlers ran for {subject}")


deployed_stage = click.option("--stage", required=True, help="One of .chalice/config.json's.")


@main.command()
@deployed_stage
@click.option("--parameter", "given", multiple=True, metavar="NAME=VALUE", help="Of infra/resources.yaml.")
def deploy(stage: str, given: tuple[str, ...]) -> None:
    """Create or update a stage: its resources, then its functions and routes; can be run again."""
    deployment = _deployment(stage)
    parameters = dict(_parameter(each) for each in given)
    url = _stepwise(lambda: deployment.deploy(parameters))
    click.echo(f"deployed: {url}")
    for provider in PROVIDERS:
        click.echo(f"  {provider}'s webhook address   {url}webhooks/{provider}")
    click.echo(f"  its secrets go into daybook/{stage} in Secrets Manager: see docs/deploy.md")


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text} is not NAME=VALUE", param_hint="--parameter")
    return name, value


@main.command()
@deployed_stage
@click.option("--yes", is_flag=True, help="Do not ask, not even for a stage called prod.")
def destroy(stage: str, yes: bool) -> None:
    """Delete a stage with all that it recorded; can be run again."""
    deployment = _deployment(stage)
    click.echo(
        f"this deletes the ledger payment-transactions-{stage}, its queues, functions, routes and logs"
    )
    if stage == "prod" and not yes and click.prompt("type prod to delete it") != "prod":
        raise Failed("nothing was deleted")
    _stepwise(deployment.destroy)
    click.echo(f"destroyed: nothing is left of {stage}; AWS keeps a backup of its ledger for 35 days")


@main.command()
@deployed_stage
@click.option("--out", type=click.Path(path_type=Path), help="A folder. [default: build/package-STAGE]")
def package(stage: str, out: Path | None) -> None:
    """Make one template and one zip of a stage, to be deployed by CloudFormation."""
    project = _project(stage)
    folder = out or project / "build" / f"package-{stage}"
    _stepwise(lambda: packages.package(project, stage, folder, os.environ, click.echo))


def _stepwise(act: Callable[[], T]) -> T:
    try:
        return act()
    except packages.Failed as error:
        raise Failed(str(error)) from None


def _project(stage: str) -> Path:
    """The project in this folder. Raises ``click.UsageError`` if it has no such stage to deploy."""
    project = Path.cwd()
    try:
        known = packages.stages(project)
    except OSError:
        raise click.UsageError("run this in Daybook's own folder, where .chalice is") from None
    if stage not in known:
        raise click.UsageError(f"no stage {stage} to deploy; there are {', '.join(known)}")
    return project


def _deployment(stage: str) -> Deployment:
    """The stage to deploy or destroy, after saying where that is."""
    project = _project(stage)
    reached = connect(stage, os.environ)
    if reached.session.region_name is None:
        raise click.UsageError("no region: set AWS_DEFAULT_REGION, or one in your AWS profile")
    account = reached.client("sts").get_caller_identity()["Account"]
    click.echo(f"stage {stage}, account {account}, region {reached.session.region_name}")
    return Deployment(project, reached, os.environ, click.echo)


@main.command()
@stage_option
@json_option
def parked(stage: str, as_json: bool) -> None:
    """Print what is set aside, with its reason. Exits with 3 where anything is."""
    found = list(connect(stage, os.environ).ledger().parked())
    if as_json:
        rows = [
            {"subject": p.subject, "id": p.event_id, "reason": p.reason, "attempts": p.attempts}
            for p in found
        ]
        click.echo(json.dumps(rows, indent=2))
    else:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for title in ("parked", "reason", "attempts", "event", "subject"):
            table.add_column(title, no_wrap=True)
        for p in found:
            table.add_row(to_iso(p.parked_at or 0), p.reason, str(p.attempts), p.event_id, p.subject)
        _console().print(table if found else "nothing is parked")
    if found:
        sys.exit(FOUND)


@main.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that is parked.")
@click.option("--dry-run", is_flag=True, help="Say what each would change, and send nothing.")
@stage_option
def redrive(ids: tuple[str, ...], every: bool, dry_run: bool, stage: str) -> None:
    """Send parked events, by their ids or --all, through the queue and the consumer again."""
    if bool(ids) == every:
        raise click.UsageError("give the IDs that `daybook parked` shows, or --all")
    reached = connect(stage, os.environ)
    again = Redrive(reached.ledger(), Inbox(reached.aws(), f"payment-events-{stage}.fifo"), _now)
    chosen = [each for each in again.ledger.parked() if every or each.event_id in ids]
    missing = set(ids) - {each.event_id for each in chosen}
    if missing:
        raise Failed(f"not parked: {', '.join(sorted(missing))}; `daybook parked` shows what is")
    for each in track(chosen, description="redriving", console=Console(stderr=True), disable=dry_run):
        if not dry_run:
            again.send(each)
            continue
        click.echo(f"{each.event_id}  {each.subject}")
        for line in again.preview(each):
            click.echo(f"  {line}")
    click.echo(f"{len(chosen)} would be sent" if dry_run else f"{len(chosen)} sent again")


@main.command()
@click.option("--customer", required=True, metavar="ID", help="cus_…, or a PayPal payer id; or provider:id.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@stage_option
def forget(customer: str, yes: bool, stage: str) -> None:
    """Remove the raw bodies of a customer's events. Payments, totals and event ids stay.

    \b
    Exits with 3 where parked events of the customer hold bodies too: redrive them, then forget again.
    """
    ledger = connect(stage, os.environ).ledger()
    named = customer.partition(":")[0] in PROVIDERS
    names = [customer] if named else [f"{provider}:{customer}" for provider in PROVIDERS]
    found = [forgetting.traces(ledger, name) for name in names]
    events = [event for each in found for event in each.events]
    parked = [event for each in found for event in each.parked]
    payments = sum(each.payments for each in found)
    click.echo(f"{customer}: {payments} payments, {len(events)} bodies, in stage {stage}")
    if events and not yes:
        click.confirm("remove these bodies? nothing brings them back", abort=True)
    for subject, event_id in track(events, description="removing", console=Console(stderr=True)):
        ledger.remove_body(subject, event_id)
    click.echo(f"removed {len(events)}; payments and totals stay")
    for subject, event_id in parked:
        click.echo(
            f"parked, and kept: {event_id} of {subject}; `daybook redrive {event_id}`, then forget again"
        )
    if parked:
        sys.exit(FOUND)


def _registered() -> Handlers:
    """The user's handlers, as the consumer runs them."""
    from chalicelib import handlers  # noqa: F401 - importing it registers them

    return registered


def _consumer(stage: Stage) -> Consumer:
    telemetry = Telemetry(stage.name, _now, lambda line: click.echo(line, err=True), metrics=False)
    inbox = Inbox(stage.aws(), f"payment-events-{stage.name}.fifo")
    return Consumer(PROVIDERS, stage.ledger(), inbox, telemetry, _registered(), _now)


def _amounts(currency: str) -> Callable[[int], str]:
    return lambda amount: money.display(amount, currency)


if __name__ == "__main__":
    sys.exit(main())

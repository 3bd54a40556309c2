"""``daybook show``, ``list``, ``parked``, ``verify``: what is recorded."""

import difflib
import json
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table
from rich.text import Text

from chalicelib import access, listing, money
from chalicelib.errors import NewerRules, NotFound, VersionMoved
from chalicelib.kinds import PAYMENT, SUBSCRIPTION, kind_of
from chalicelib.ledger import Ledger
from chalicelib.parking import ParkedEvent
from chalicelib.payments import Labels
from chalicelib.providers import PROVIDERS
from chalicelib.times import to_iso
from chalicelib.undelivered import Undelivered
from ops import against, providers_api
from ops import verify as verifier
from ops.commands import FOUND, Failed, beside, handlers, json_option, now, plain, say, stage_option, wide
from ops.commands.accounting import parts_table, print_payout
from ops.commands.subscribing import listed, print_subscription
from ops.stage import Stage, connect

LOOKS = 200  # pages that one list may take where few match
INCONSISTENT = "more given back than captured, a refund of what was not captured, or two currencies"


@click.command()
@click.argument("id_", metavar="ID")
@stage_option
@json_option
def show(id_: str, stage: str, as_json: bool) -> None:
    """Print one payment, subscription or payout. ID is its own, an object's or a provider event's."""
    reached = connect(stage, os.environ)
    found = _find(reached, id_)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    _print_record(wide(), found)
    _print_payouts(wide(), reached.ledger(), found)
    for line in _left(reached, found["id"]):
        say(line)


def _left(stage: Stage, subject: str) -> Iterator[str]:
    """The handlers that have not handled something yet, and why the last run failed."""
    known = handlers(stage)
    for task in stage.ledger().outbox(subject, kind_of(subject).entry).tasks:
        for handler in known.unhandled(task):
            why = f", failed {task.runs} times, the last one by {task.failed}" if task.failed else ""
            waits = f", which waits for its {handler.needs}" if handler.needs and not why else ""
            yield f"  left        {handler.name} ({task.type}){waits}{why}"
    for waiting in stage.ledger().undelivered.of(subject):
        what = f"target:{waiting.target} ({', '.join(waiting.types)})"
        yield f"  left        {what}{_state(waiting)}"


def _state(waiting: Undelivered) -> str:
    """How it stands with what waits for a target."""
    if not waiting.reason:
        return ", which is on its way"
    times = f"{waiting.attempts} times, the last one by " if waiting.attempts > 1 else "by "
    failed = f", failed {times}{waiting.reason}"
    if waiting.parked_at is not None:
        return f"{failed}; parked: daybook redrive {waiting.id}"
    return f"{failed}; tried again {to_iso(waiting.due_at)}"


def _find(stage: Stage, id_: str) -> dict[str, Any]:
    """What that id is of, with or without its provider: a record's, an event's, a charge's, a refund's, an
    order's, a customer's, or the user's own reference. Raises ``NotFound``."""
    ledger = stage.ledger()
    for name in listing.named(id_):
        for subject in (name, *_subjects(ledger, name)):
            found = _subscription(stage, subject) or _payout(ledger, subject) or _payment(ledger, subject)
            if found:
                return found
    referred = _referred(stage, id_)
    if referred:
        return referred
    of_customer = listing.payments(ledger, listing.parse({"customer": id_}))["payments"]
    if len(of_customer) > 1:
        raise NotFound(f"{len(of_customer)} payments or more are of {id_}: daybook list --customer {id_}")
    if of_customer:
        return listing.payment(ledger, *of_customer[0]["id"].split(":", 1))
    raise NotFound(f"nothing of {id_} in stage {stage.name}{_nearest(ledger, id_)}")


def _referred(stage: Stage, id_: str) -> dict[str, Any] | None:
    """The payment, or else the subscription, of the user's own reference. Raises ``NotFound`` for several."""
    ledger = stage.ledger()
    for kind, list_ in ((PAYMENT, "list"), (SUBSCRIPTION, "list --subscriptions")):
        subjects = ledger.referred(id_, kind)
        if len(subjects) > 1:
            raise NotFound(f"{len(subjects)} {kind}s are of {id_}: daybook {list_} --reference {id_}")
        for subject in subjects:
            return _subscription(stage, subject) or listing.payment(ledger, *subject.split(":", 1))
    return None


def _nearest(ledger: Ledger, id_: str) -> str:
    """What may have been meant, of the latest payments: an id that was cut off, or mistyped."""
    latest = listing.payments(ledger, listing.parse({"limit": "100"}))["payments"]
    known = {each["reference"]: each["id"] for each in latest}
    known |= {each["id"].partition(":")[2]: each["id"] for each in latest}
    names = [each for each in known if each]
    near = [each for each in names if each.startswith(id_)] or difflib.get_close_matches(id_, names, 1)
    return f"; {near[0]} is near, of {known[near[0]]}" if near else "; daybook list shows what there is"


def _subjects(ledger: Ledger, reference: str) -> list[str]:
    of_event = ledger.subject_of(reference) or ledger.named_by(reference)
    return [of_event] if of_event else ledger.referred(reference)


def _payment(ledger: Any, subject: str) -> dict[str, Any] | None:
    """The payment, or for a subject that moves no money its events alone; ``None`` if there are none."""
    provider, _, object_id = subject.partition(":")
    try:
        return listing.payment(ledger, provider, object_id)
    except NotFound:
        events = [event.to_dict() for event in ledger.listed_events(subject)]
        return {"id": subject, "provider": provider, "events": events} if events else None


def _subscription(stage: Stage, subject: str) -> dict[str, Any] | None:
    provider, _, object_id = subject.partition(":")
    try:
        terms = stage.settings(os.environ).terms
        return access.subscription(stage.ledger(), provider, object_id, now(), terms)
    except NotFound:
        return None


def _payout(ledger: Ledger, subject: str) -> dict[str, Any] | None:
    provider, _, object_id = subject.partition(":")
    try:
        return listing.payout(ledger, provider, object_id)
    except NotFound:
        return None


def _print_payouts(console: Console, ledger: Ledger, found: Mapping[str, Any]) -> None:
    """What a payout is made of, or the payouts that a payment's money is in."""
    if "transactions" in found:
        if found["transactions"]:
            console.print(parts_table(ledger.made_of.of(found["id"]), found["currency"]))
        return
    if "captured" in found:
        for payout in ledger.made_of.payouts(found["id"]):
            console.print(f"  {'payout':<10} {payout}", highlight=False)


def _print_record(console: Console, found: Mapping[str, Any]) -> None:
    if "access" in found:
        print_subscription(console, found)
    elif "transactions" in found:
        print_payout(console, found)
    else:
        status = found.get("status", "no payment, events only")
        console.print(Text.assemble((plain(found["id"]), "bold"), f"  {status}"))
        if "status" in found:
            _print_totals(console, found)
    for title, rows in (("milestone", _milestones(found)), ("event", found["events"])):
        if rows:
            console.print(_rows(title, rows))


def _print_totals(console: Console, found: Mapping[str, Any]) -> None:
    currency = found["currency"] or ""
    for name in ("amount", "authorized", "captured", "refunded", "disputed", "net"):
        console.print(f"  {name:<11}{money.display(found[name], currency):>16}", highlight=False)
    settled = found["settled"]
    if settled:
        for name in ("fee", "net"):
            amount = money.display(settled[name], settled["currency"])
            console.print(f"  {f'settled {name}':<11}{amount:>16}", highlight=False)
        if not settled["complete"]:
            console.print("  a part of what moved is not settled yet, as far as is known")
    if not found["consistent"]:
        console.print(Text.assemble(("  not consistent", "red"), f": {INCONSISTENT}"))
    written = {"reference": found["reference"], "customer": found["customer"], **found["metadata"]}
    for name, value in (
        *written.items(),
        *((kind, ", ".join(ids)) for kind, ids in found["related"].items()),
    ):
        if value:
            console.print(f"  {name:<10} {value}", highlight=False)


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


@click.command("list")
@click.option("--status", help="Only those of this status.")
@click.option("--provider", type=click.Choice(list(PROVIDERS)))
@click.option("--reference", help="Only those of your own id, such as an order's.")
@click.option("--customer", help="Only those of the provider's customer, with or without provider:.")
@click.option("--amount", type=click.IntRange(0), help="Only those of this amount, in minor units (cents).")
@click.option("--currency", help="Only those in this currency.")
@click.option("--since", help="ISO 8601 date or time.")
@click.option("--until", help="ISO 8601 date or time.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="How many.")
@click.option("--cursor", help="Where the page before ended.")
@click.option("--subscriptions", is_flag=True, help="Subscriptions instead of payments.")
@stage_option
@json_option
def list_(stage: str, as_json: bool, subscriptions: bool, **given: Any) -> None:
    """Print the latest payments, or subscriptions, newest first."""
    parameters = {name: str(value) for name, value in given.items() if value is not None}
    reached = connect(stage, os.environ)
    of = access.listed(now(), reached.settings(os.environ).terms) if subscriptions else listing.PAYMENTS
    page = _filled(reached.ledger(), parameters, of)
    if as_json:
        click.echo(json.dumps(page, indent=2))
        return
    wide().print(listed(page["subscriptions"]) if subscriptions else _listed(page["payments"]))
    for subject in page.get("unread", ()):
        say(f"{subject}: not read, a newer version of Daybook wrote it", err=True)
    if page["cursor"]:
        say(f"more: --cursor {page['cursor']}", err=True)


def _filled(ledger: Ledger, parameters: dict[str, str], of: listing.Listed) -> dict[str, Any]:
    """A page that has as many as are asked for, if there are: where few match, some have none."""
    page = listing.page(ledger, listing.parse(parameters), of)
    limit, looks = listing.parse(parameters).limit, 0
    while page["cursor"] and len(page[of.name]) < limit and looks < LOOKS:
        left = {"limit": str(limit - len(page[of.name])), "cursor": page["cursor"]}
        more = listing.page(ledger, listing.parse({**parameters, **left}), of)
        unread = [*page.get("unread", ()), *more.get("unread", ())]
        page = {of.name: [*page[of.name], *more[of.name]], "cursor": more["cursor"]}
        page |= {"unread": unread} if unread else {}
        looks += 1
    return page


def _listed(payments: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("created", "status", "captured", "net", "reference", "payment"):
        table.add_column(title, no_wrap=True, justify="right" if title in ("captured", "net") else "left")
    for payment in payments:
        show_amount = _amounts(payment["currency"] or "")
        table.add_row(
            payment["created_at"],
            payment["status"],
            show_amount(payment["captured"]),
            show_amount(payment["net"]),
            payment.get("reference") or "",
            payment["id"],
        )
    return table


def _amounts(currency: str) -> Callable[[int], str]:
    return lambda amount: money.display(amount, currency)


@click.command()
@stage_option
@json_option
def parked(stage: str, as_json: bool) -> None:
    """Print what is set aside, with its reason: events, and what a target (TARGET/SUBJECT) did not take.

    Exits with 3 where anything is.
    """
    rows = list(_parked(connect(stage, os.environ).ledger()))
    if as_json:
        shown = [{**each, "parked_at": to_iso(each["parked_at"])} for each in rows]
        click.echo(json.dumps(shown, indent=2))
    else:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for title in ("parked", "age", "reason", "attempts", "id", "subject"):
            table.add_column(title, no_wrap=True)
        for each in rows:
            at, attempts = each["parked_at"], str(each["attempts"])
            table.add_row(to_iso(at), age(now() - at), each["reason"], attempts, each["id"], each["subject"])
        wide().print(table if rows else "nothing is parked")
    if rows:
        sys.exit(FOUND)


def _parked(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """Events first; ``parked_at`` in milliseconds."""
    for event in ledger.parking.parked():
        yield _row(event.event_id, event)
    for delivery in ledger.undelivered.parked():
        of_target = {"target": delivery.target, "milestones": list(delivery.types)}
        yield _row(delivery.id, delivery) | of_target


def _row(id_: str, it: ParkedEvent | Undelivered) -> dict[str, Any]:
    return {
        "subject": it.subject,
        "id": id_,
        "reason": it.reason,
        "attempts": it.attempts,
        "parked_at": it.parked_at or 0,
    }


def age(milliseconds: int) -> str:
    """``3 d``, ``5 h``, ``7 min``, ``12 s``."""
    seconds = max(0, milliseconds // 1000)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


@click.command()
@click.option("--subject", help="Only that payment, as provider:id. [default: the whole table]")
@click.option("--repair", "mend", is_flag=True, help="Write each drifted payment anew from its events.")
@click.option("--against-provider", is_flag=True, help="Compare amounts with the provider's own instead.")
@click.option(
    "--sample",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="How many payments to ask the provider for.",
)
@stage_option
@json_option
def verify(
    subject: str | None, mend: bool, against_provider: bool, sample: int, stage: str, as_json: bool
) -> None:
    """Check that each stored payment is what its events say. Exits with 3 where one is not.

    With --against-provider: that the provider's API shows the same amounts of some recent payments.
    """
    reached = connect(stage, os.environ)
    ledger = reached.ledger()
    chosen = _known(ledger, subject) if subject else None
    if against_provider:
        _against_provider(reached, chosen, sample, as_json)
        return
    labels = reached.settings(os.environ).labels
    unread: list[str] = []
    found = list(_drifts(ledger, [chosen] if chosen else ledger.subjects(), labels, unread))
    for newer in unread:
        say(newer, err=True)
    if as_json:
        rows = [{"subject": d.subject, "differences": list(d.differences())} for d in found]
        click.echo(json.dumps(rows, indent=2))
    else:
        _print_drifts(found)
    if unread:
        say(f"{len(unread)} not read: deploy the version that wrote them to verify them", err=True)
    if mend:
        _repair(reached, found)
        sys.exit(FOUND if unread else 0)
    if found or unread:
        sys.exit(FOUND)


def _repair(stage: Stage, found: list[verifier.Drift]) -> None:
    """Write each anew; one that was written meanwhile is left, and named."""
    ledger, known = stage.ledger(), handlers(stage)
    waiting, moved = 0, []
    for each in found:
        try:
            waiting += verifier.repair(ledger, each, known, now())
        except VersionMoved:
            moved.append(each.subject)
    repaired = f"repaired {len(found) - len(moved)}; {waiting} milestones wait for"
    say(f"{repaired} `daybook replay SUBJECT --stage {stage.name}`", err=True)
    if moved:
        say(f"changed meanwhile, and left: {', '.join(moved)}; verify again", err=True)
        sys.exit(FOUND)


def _against_provider(stage: Stage, subject: str | None, sample: int, as_json: bool) -> None:
    found = providers_api.stage_apis(stage, os.environ)
    if not found:
        raise Failed(providers_api.NO_KEYS.format(secret=stage.names.secret))
    ledger = stage.ledger()
    subjects = [subject] if subject else against.sample(ledger, sample, random.Random())  # noqa: S311
    asking = (against.compare(ledger, each, found) for each in subjects)
    compared = list(track(asking, description="asking", total=len(subjects), console=beside()))
    differing = [each for each in compared if each.differences]
    asked = [each for each in compared if each.was_asked]
    if as_json:
        click.echo(json.dumps([_compared(each) for each in compared], indent=2))
    else:
        for each in differing:
            say(each.subject)
            for name, ours, theirs in each.differences:
                say(f"  {name}: ours {ours}, the provider's {theirs}")
        say(f"{len(asked)} compared, {len(differing)} differ, {len(compared) - len(asked)} not asked")
    if differing:
        sys.exit(FOUND)


def _compared(found: against.Comparison) -> dict[str, Any]:
    differences = [list(each) for each in found.differences]
    return {"subject": found.subject, "asked": found.was_asked, "differences": differences}


def _known(ledger: Ledger, subject: str) -> str:
    """``subject`` if anything is recorded of it."""
    if subject.partition(":")[0] not in PROVIDERS:
        raise click.BadParameter("is not provider:id, as `daybook list` shows it", param_hint="--subject")
    if next(ledger.events(subject), None) is None:
        raise NotFound(f"no events of {subject}")
    return subject


def _drifts(
    ledger: Ledger, subjects: Iterable[str], labels: Labels, unread: list[str]
) -> Iterator[verifier.Drift]:
    """What a newer version wrote is not looked at: why is put into ``unread``."""
    with Progress(console=beside(), transient=True) as progress:
        task = progress.add_task("verifying", total=None)
        for subject in subjects:
            try:
                found = verifier.drift(ledger, subject, labels)
            except NewerRules as newer:
                unread.append(str(newer))
                continue
            if found:
                yield found
            progress.advance(task)


def _print_drifts(found: list[verifier.Drift]) -> None:
    for each in found:
        say(each.subject)
        for name, stored, right in each.differences():
            say(f"  {name}: stored {json.dumps(stored)}, its events say {json.dumps(right)}")
    say(f"{len(found)} drifted" if found else "no drift")

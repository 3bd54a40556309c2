"""``daybook access``, and a subscription as ``daybook show`` prints it."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chalicelib import access as accessing
from chalicelib import money
from ops.commands import FOUND, json_option, now, plain, say, stage_option
from ops.stage import connect

INSTANTS = ("paid_through", "trial_ends_at", "cancel_at", "paused_until", "past_due_since", "ended_at")


@click.command()
@click.option("--reference", help="Your own id of who pays, such as a user's.")
@click.option("--customer", help="The provider's customer, with or without provider:.")
@click.option("--at", help="ISO 8601 instant.  [default: now]")
@stage_option
@json_option
def access(stage: str, as_json: bool, **given: str | None) -> None:
    """Say whether somebody's subscriptions give access, until when and why; exits with 3 where not."""
    reached = connect(stage, os.environ)
    parameters = {name: value for name, value in given.items() if value}
    question = accessing.parse(parameters, now())
    found = accessing.answer(reached.ledger(), question, reached.settings(os.environ).terms)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        say(in_short(found["access"], found["until"], found["reason"]))
        for subject in found["subscriptions"]:
            say(f"  {subject}")
    raise SystemExit(0 if found["access"] else FOUND)


def in_short(has_access: bool, until: str | None, reason: str) -> str:
    """One line: the answer, its end and its reason."""
    if has_access:
        return f"access{f' until {until}' if until else ''} ({reason})"
    return f"no access{f' since {until}' if until else ''} ({reason})"


# Why there is access, or none: by the reason that ``GET /access`` gives.
WHY = {
    "trial": "on trial, until {until}",
    "paid": "paid until {until}",
    "free": "a free plan, until {until}",
    "grace": "a payment failed, and the days of grace last until {until}",
    "paused": "it is paused",
    "ended": "it has ended; what was paid lasts until {until}",
    "unpaid": "its payments failed, and the provider tries no more",
    "pending": "it has not begun",
    "reversed": "its last payment was given back",
}
WHY_NOT = {
    "trial": "the trial ended on {until}",
    "paid": "what was paid ended on {until}, and nothing was heard since",
    "free": "its period ended on {until}, and nothing was heard since",
    "grace": "a payment failed, and the days of grace are over since {until}",
    "ended": "it has ended",
}


def in_words(found: Mapping[str, Any]) -> str:
    """Why a subscription gives access, or none, as a sentence without its full stop."""
    reason = found["access_reason"]
    words = WHY[reason] if found["access"] else WHY_NOT.get(reason, WHY[reason])
    return words.format(until=(found["access_until"] or "an end that is not known yet")[:10])


def sold(item: Mapping[str, Any], amount: Callable[[int, str], str] = money.display) -> str:
    """``price_basic  2 × 19.00 EUR every month``, as far as it is known; ``amount`` writes money."""
    price = f"{item['price'] or 'no price'}  {item['quantity'] or 1}"
    if item["amount"] is not None:
        price += f" × {amount(item['amount'], item['currency'])}"
    return f"{price} every {item['interval'].removeprefix('1 ')}" if item["interval"] else price


def listed(found: list[dict[str, Any]]) -> Table:
    """A row for each: what it is, and until when it gives access."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("created", "status", "access", "until", "reference", "subscription"):
        table.add_column(title, no_wrap=True)
    for each in found:
        answer = f"{'yes' if each['access'] else 'no'} ({each['access_reason']})"
        until, reference = each["access_until"] or "", each["reference"] or ""
        table.add_row(each["created_at"] or "", each["status"], answer, until, reference, each["id"])
    return table


def print_subscription(console: Console, found: Mapping[str, Any]) -> None:
    """What it is, what it grants now, and what it is of."""
    console.print(Text.assemble((plain(found["id"]), "bold"), f"  {found['status']}"))
    console.print(f"  {in_short(found['access'], found['access_until'], found['access_reason'])}")
    if not found["certain"]:
        console.print(Text.assemble(("  not certain", "yellow"), ": which state is the last is not known"))
    for item in found["items"]:
        console.print(f"  {sold(item)}")
    last = found["last_payment"]
    if last:
        by = last["payment"] or (last["method"] or "a payment that is not known").replace("_", " ")
        undone = f" ({last['reversed']})" if last["reversed"] else ""
        console.print(
            f"  {'last_payment':<14} {money.display(last['amount'], last['currency'])} {by}{undone}"
        )
    written = {"reference": found["reference"], "customer": found["customer"], **found["metadata"]}
    for name, value in {**{name: found[name] for name in (*INSTANTS, "ended_reason")}, **written}.items():
        if value:
            console.print(f"  {name:<14} {value}")

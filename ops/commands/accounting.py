"""``daybook payouts`` and ``daybook export``: for whoever does the books."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from chalicelib import listing, money
from chalicelib.made_of import Part
from chalicelib.payouts import STATUSES
from chalicelib.providers import PROVIDERS
from chalicelib.times import sortable
from ops.books.formats import AS_TEXT, FORMATS, NotInstalled, require_pyarrow, write_parquet
from ops.books.lines import COLUMNS, FIRST, LAST, Line, Zone
from ops.books.store import Store
from ops.commands import FOUND, Failed, beside, json_option, plain, say, stage_option, wide
from ops.stage import connect

NO_PAYOUTS = (
    "no payouts: subscribe Stripe's endpoint to payout.*; PayPal's transfers need its API credentials"
)
NOT_KNOWN = (
    "the provider is asked once an hour, with an API key; of one that was sent by hand it never says it"
)
NOT_CONSISTENT = "what it is made of does not add up to it"


@click.command()
@click.option("--status", type=click.Choice(STATUSES), help="Only those of this status.")
@click.option("--provider", type=click.Choice(list(PROVIDERS)))
@click.option("--since", help="ISO 8601 date or time.")
@click.option("--until", help="ISO 8601 date or time.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="How many.")
@click.option("--cursor", help="Where the page before ended.")
@stage_option
@json_option
def payouts(stage: str, as_json: bool, **given: Any) -> None:
    """Print what was sent to the bank, newest first; `daybook show ID` says what one is made of."""
    parameters = {name: str(value) for name, value in given.items() if value is not None}
    ledger, query = connect(stage, os.environ).ledger(), listing.parse(parameters)
    page = listing.page(ledger, query, listing.PAYOUTS)
    if as_json:
        click.echo(json.dumps(page, indent=2))
        return
    if not page["payouts"]:
        say(NO_PAYOUTS)
        return
    wide().print(_listed(page["payouts"]))
    if page["cursor"]:
        say(f"more: --cursor {page['cursor']}", err=True)


def _listed(found: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("created", "status", "arrives", "amount", "made of", "payout"):
        table.add_column(title, no_wrap=True, justify="right" if title == "amount" else "left")
    for each in found:
        amount = money.display(each["amount"], each["currency"] or "")
        arrives = each["arrival_date"] or ""
        table.add_row(each["created_at"], each["status"], arrives, amount, made_of(each), each["id"])
    return table


def made_of(payout: Mapping[str, Any]) -> str:
    """How many movements, and whether they add up to it."""
    if payout["transactions"] is None:
        return ""
    count = f"{payout['transactions']['count']} movements"
    return count if payout["consistent"] else f"{count}, not consistent"


def print_payout(console: Console, found: Mapping[str, Any]) -> None:
    """What it is, and what it is made of."""
    currency = found["currency"] or ""
    console.print(Text.assemble((plain(found["id"]), "bold"), f"  {found['status']}"))
    console.print(f"  {'amount':<14} {money.display(found['amount'], currency)}")
    for name in ("arrival_date", "trace_id", "method", "failure"):
        if found[name]:
            console.print(f"  {name:<14} {found[name]}")
    if found["transactions"]:
        for kind, figures in found["transactions"]["by_kind"].items():
            net = money.display(figures["net"], currency)
            fee = money.display(figures["fee"], currency)
            console.print(f"  {kind:<14} {net} net of {figures['count']} (fees {fee})")
    else:
        console.print(f"  what it is made of is not known: {NOT_KNOWN}")
    if not found["consistent"]:
        console.print(Text.assemble(("  not consistent", "red"), f": {NOT_CONSISTENT}"))


def parts_table(parts: Iterator[Part], currency: str) -> Table:
    """A row for each movement that a payout is made of."""
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="dim")
    for title in ("kind", "gross", "fee", "net", "object", "payment"):
        is_amount = title in ("gross", "fee", "net")
        table.add_column(title, no_wrap=True, justify="right" if is_amount else "left")
    for each in parts:
        amounts = [money.display(value, currency) for value in (each.gross, each.fee, each.net)]
        table.add_row(each.kind, *amounts, each.object or "", each.payment or "")
    return table


@click.command()
@click.option("--since", help="Date or time, inclusive.  [default: the beginning]")
@click.option("--until", help="Date or time, not inclusive: 2026-02-01 ends January.  [default: the end]")
@click.option("--by", type=click.Choice(list(COLUMNS)), default="movement", show_default=True)
@click.option("--format", "format_", type=click.Choice(FORMATS), default="csv", show_default=True)
@click.option("--tz", default="UTC", show_default=True, help="Time zone, such as Europe/Berlin.")
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="[default: stdout]")
@stage_option
def export(
    stage: str,
    since: str | None,
    until: str | None,
    by: str,
    format_: str,
    tz: str,
    output: Path | None,
) -> None:
    """Write the books to a file: a line for each movement of money, payment, or payout.

    \b
    daybook export --since 2026-01-01 --until 2026-02-01 --tz Europe/Berlin -o january.csv
    daybook export --by payout --format jsonl
    daybook export --format beancount -o daybook.beancount

    --since and --until choose movements by their own time; payments and payouts by when they began,
    with their sums as of now. What each column is, docs/accounting.md says.
    """
    zone = _zone(tz)
    begins, ends = _place(since, zone, FIRST), _place(until, zone, LAST)
    if begins > ends:
        raise click.UsageError("--since is after --until")
    if format_ == "beancount" and by != "movement":
        raise click.UsageError("a beancount file is by movement")
    if format_ == "parquet" and output is None:
        raise click.UsageError("a parquet file needs --output")
    ledger = connect(stage, os.environ).ledger()
    store = Store(by)
    try:
        if format_ == "parquet":
            require_pyarrow()
        with _output(output) as path:  # what cannot be written is said before all is read
            with Progress(console=beside(), transient=True) as progress:
                task = progress.add_task("reading", total=None)
                store.read(ledger, zone, lambda done, of: progress.update(task, completed=done, total=of))
            _write(store.lines(begins, ends), by, format_, path)
    except NotInstalled as missing:
        raise Failed(str(missing)) from None
    except OSError as error:
        raise Failed(f"{output or 'the output'} cannot be written: {error.strerror or error}") from None
    finally:
        store.close()
    _say_unread(store.unread)


def _say_unread(unread: list[str]) -> None:
    """What makes the file less than the whole books: exits with 3 then."""
    for subject in dict.fromkeys(unread):
        say(f"{subject}: not in it, a newer version of Daybook wrote it", err=True)
    if unread:
        sys.exit(FOUND)


def _write(lines: Iterator[Line], by: str, format_: str, path: Path | None) -> None:
    if path is None:
        AS_TEXT[format_](lines, by, sys.stdout)
        sys.stdout.flush()
    elif format_ == "parquet":
        write_parquet(lines, by, path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            AS_TEXT[format_](lines, by, file)


@contextmanager
def _output(output: Path | None) -> Iterator[Path | None]:
    """Where to write: a file is there whole, or not at all; a device or a pipe is written to as it is."""
    if output is None or (output.exists() and not output.is_file()):
        yield output
        return
    with whole(output.resolve()) as path:
        yield path


@contextmanager
def whole(output: Path) -> Iterator[Path]:
    """A new file beside it, which takes its place at the end, with the mode that it had."""
    handle, name = mkstemp(prefix=f".{output.name}.", dir=output.parent)
    os.close(handle)
    path = Path(name)
    try:
        yield path
        path.chmod(output.stat().st_mode & 0o777 if output.exists() else 0o666 & ~_umask())
        path.replace(output)
    finally:
        path.unlink(missing_ok=True)


def _umask() -> int:
    """What new files are not allowed."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _zone(name: str) -> Zone:
    try:
        return Zone.named(name)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong), param_hint="--tz") from None


def _place(text: str | None, zone: Zone, otherwise: str) -> str:
    """An instant as lines are in the order of."""
    if text is None:
        return otherwise
    try:
        return sortable(zone.instant(text))
    except (ValueError, OverflowError):
        raise click.UsageError(f"{text} is not an ISO 8601 date or time") from None

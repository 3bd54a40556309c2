"""``daybook compare``: a table of one's own beside the ledger."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from rich.progress import Progress, TaskID

from ops.commands import FOUND, Failed, beside, instant, json_option, now, say, stage_option
from ops.compare import BY, EXTRA, FIELDS, BadTable, Comparison, Found, Mapped, rows
from ops.stage import connect

SHOWN = 100  # of what is found; the totals count all


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--map", "maps", multiple=True, metavar="FIELD=COLUMN", help="Which column is what; see below.")
@click.option(
    "--status", "statuses", multiple=True, metavar="YOURS=OURS", help="What your statuses are here."
)
@click.option("--minor", is_flag=True, help="Amounts are integers in the currency's minor unit.")
@click.option("--since", help="Also payments of the ledger since then that the file has not.")
@click.option("--until", help="With --since.  [default: now]")
@click.option(
    "--at-least", type=click.FloatRange(0, 100), default=100.0, help="Percent that are to be equal."
)
@click.option("--all", "every", is_flag=True, help="Print all that is found, not the first hundred.")
@stage_option
@json_option
def compare(
    file: Path,
    maps: tuple[str, ...],
    statuses: tuple[str, ...],
    minor: bool,
    since: str | None,
    until: str | None,
    at_least: float,
    every: bool,
    stage: str,
    as_json: bool,
) -> None:
    """Compare a table of your own, FILE.csv or FILE.jsonl, with the ledger. Exits with 3 where they differ.

    \b
    daybook compare orders.csv --map id=payment_intent --map captured=total --map status=state \\
        --status paid=succeeded --since 2026-11-26 --at-least 99.9

    FIELD is id or reference (which payment a row is of), and what is to be compared: status, currency,
    amount, authorized, captured, refunded, disputed, net, customer, reference. Empty cells are not.
    """
    if until and not since:
        raise click.UsageError("--until goes with --since")
    mapped = Mapped(columns=_pairs(maps, (*BY, *FIELDS)), statuses=_pairs(statuses), is_minor=minor)
    ledger = connect(stage, os.environ).ledger()
    comparison = Comparison(ledger, mapped)
    try:
        found = _found(comparison, file, since, until)
        kept = list(_kept(found, None if every or as_json else SHOWN))
    except (BadTable, UnicodeDecodeError) as wrong:
        raise Failed(f"{file}: {wrong}") from None
    finally:
        comparison.close()
    for subject in dict.fromkeys(comparison.unread):
        say(f"{subject}: not compared, a newer version of Daybook wrote it", err=True)
    tally = comparison.tally
    if not tally.compared:
        say("nothing was compared: the file has no rows", err=True)
    if as_json:
        shown = [each._asdict() for each in kept]
        totals = {"compared": tally.compared, "equal": tally.equal, "percent": round(tally.percent, 3)}
        click.echo(json.dumps({**totals, **tally.found, "found": shown}, indent=2))
    else:
        for each in kept:
            say(in_words(each))
        counts = ", ".join(f"{count} {what}" for what, count in tally.found.items())
        say(f"{tally.compared} compared, {tally.equal} equal ({tally.percent:.3f} %), {counts}")
    if tally.percent < at_least or comparison.unread:
        sys.exit(FOUND)


def _found(comparison: Comparison, file: Path, since: str | None, until: str | None) -> Iterator[Found]:
    with Progress(console=beside(), transient=True) as progress:
        task = progress.add_task("comparing", total=None)
        yield from _noted(comparison.of_file(rows(file)), progress, task, comparison)
        if since is not None:
            ends = instant(until, "--until") if until else now()
            others = comparison.of_ledger(instant(since), ends)
            yield from _noted(others, progress, task, comparison)


def _noted(found: Iterator[Found], progress: Progress, task: TaskID, of: Comparison) -> Iterator[Found]:
    for each in found:
        progress.update(task, completed=of.tally.compared)
        yield each


def _kept(found: Iterator[Found], most: int | None) -> Iterator[Found]:
    """The first ones; all are counted."""
    for number, each in enumerate(found):
        if most is None or number < most:
            yield each


def in_words(found: Found) -> str:
    """``stripe:pi_1: different: captured 5000 in the file, 3800 in the ledger``; amounts in minor units."""
    if not found.differences:
        return f"{found.id}: {found.what}"
    pairs = found.differences.items()
    if found.what == EXTRA:
        return f"{found.id}: {found.what}: {', '.join(f'{name} {ours}' for name, (_, ours) in pairs)}"
    parts = [f"{name} {theirs} in the file, {ours} in the ledger" for name, (theirs, ours) in pairs]
    return f"{found.id}: {found.what}: {'; '.join(parts)}"


def _pairs(given: tuple[str, ...], known: tuple[str, ...] | None = None) -> dict[str, str]:
    found = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name or not value:
            raise click.UsageError(f"{each} is not NAME=VALUE")
        if known is not None and name not in known:
            raise click.UsageError(f"{name} cannot be compared: one of {', '.join(known)} can")
        found[name] = value
    return found

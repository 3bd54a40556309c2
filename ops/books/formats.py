"""Files of the books' lines, written as they come.

CSV and Parquet have amounts as decimals in the currency's own unit, JSON lines as integers in its minor unit,
as all of Daybook's JSON has them. Beancount's: https://beancount.github.io/docs/beancount_language_syntax.html
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from chalicelib import money
from ops.books.lines import AMOUNTS, COLUMNS, Line

# What a spreadsheet takes for a formula: https://owasp.org/www-community/attacks/CSV_Injection
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
BATCH = 10_000  # lines of a row group
SCALE = 4  # decimals of an amount in Parquet: no currency has more
PYARROW = "Parquet needs pyarrow, which is not installed: .venv/bin/pip install pyarrow"


class NotInstalled(Exception):
    """What a format needs is not there; its message says how to get it."""


def decimal(line: Line, name: str) -> Decimal | None:
    """An amount in its currency's own unit; ``None`` where it is not known."""
    amount, currency = line[name], line[AMOUNTS[name]]
    if amount is None or currency is None:
        return None
    try:
        return Decimal(amount).scaleb(-money.exponent(currency))
    except ValueError:
        return Decimal(amount)


def text_of(value: object) -> str:
    """One line of text that no spreadsheet takes for a formula; nothing for what is not known."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    flat = "".join(each if each.isprintable() else " " for each in str(value))
    # where the separator is a semicolon, a field in quotes is more than one
    return ";".join(f"'{each}" if each.lstrip().startswith(FORMULA) else each for each in flat.split(";"))


def write_csv(lines: Iterable[Line], by: str, file: TextIO) -> None:
    """With a line of headings; UTF-8, fields quoted where they need it."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS[by])
    for line in lines:
        writer.writerow([_cell(line, name) for name in COLUMNS[by]])


def _cell(line: Line, name: str) -> str:
    if name in AMOUNTS:
        amount = decimal(line, name)
        return "" if amount is None else f"{amount:f}"
    return text_of(line[name])


def write_jsonl(lines: Iterable[Line], by: str, file: TextIO) -> None:
    """An object a line."""
    for line in lines:
        file.write(json.dumps(line) + "\n")


def require_pyarrow() -> None:
    """Raises ``NotInstalled`` if it is not there."""
    if find_spec("pyarrow") is None:
        raise NotInstalled(PYARROW)


def write_parquet(lines: Iterable[Line], by: str, path: Path) -> None:
    """Raises ``NotInstalled``."""
    require_pyarrow()
    import pyarrow as pa
    from pyarrow import parquet

    types = {
        "at": pa.timestamp("ms", "UTC"),
        "movements": pa.int64(),
        **dict.fromkeys(AMOUNTS, pa.decimal128(38, SCALE)),
        **dict.fromkeys(("livemode", "complete", "consistent"), pa.bool_()),
    }
    schema = pa.schema([(name, types.get(name, pa.string())) for name in COLUMNS[by]])
    with parquet.ParquetWriter(path, schema) as writer:
        for batch in _batches(lines):
            columns = {name: [_value(line, name) for line in batch] for name in COLUMNS[by]}
            writer.write_table(pa.Table.from_pydict(columns, schema=schema))


def _batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    left = iter(lines)
    while batch := list(islice(left, BATCH)):
        yield batch


def _value(line: Line, name: str) -> Any:
    if name == "at":
        return _moment(line["at"])
    value = decimal(line, name) if name in AMOUNTS else line[name]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _moment(at: str) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(at)


# ── Beancount ───────────────────────────────────────────────────────────────────────────────────────


INCOME = {"capture": "Income:Sales", "refund": "Income:Refunds", "reversal": "Income:Refunds"}
OTHERS = {"dispute": "Expenses:Disputes", "fee": "Expenses:Fees", "payout": "Assets:Bank"}
ADJUSTED = "Equity:Adjustments"


def write_beancount(lines: Iterable[Line], by: str, file: TextIO) -> None:
    """A transaction for each movement: the balance with the provider, the fee, and where the rest is from.

    Accounts are opened on the first day; each can be renamed in one place, as text.
    """
    opened: set[str] = set()
    for line in lines:
        postings = list(_postings(line))
        day = line["local"][:10]
        for account in sorted({account for account, _ in postings} - opened):
            file.write(f"{day} open {account}\n")
            opened.add(account)
        what = f"{line['kind']} {line['reference'] or line['object']}"
        file.write(f'{day} * "{_quoted(line["provider"])}" "{_quoted(what)}"\n')
        for name in ("id", "payment", "customer", "payout", "at"):
            if line[name]:
                file.write(f'  {name}: "{_quoted(line[name])}"\n')
        for account, amount in postings:
            file.write(f"  {account}  {amount}\n")
        file.write("\n")


def _postings(line: Line) -> Iterator[tuple[str, str]]:
    """What is not settled yet is in the payment's currency, without a fee."""
    provider, kind = str(line["provider"]).title(), line["kind"]
    counter = {**INCOME, **OTHERS}.get(kind, ADJUSTED)
    counter = f"{counter}:{provider}" if counter != OTHERS["payout"] else counter
    amount, currency = decimal(line, "amount") or Decimal(0), line["currency"] or "XXX"
    net, gross, fee = (decimal(line, name) for name in ("net", "gross", "fee"))
    balance = f"Assets:{provider}"
    if net is None or gross is None:
        yield balance, f"{amount:f} {currency}"
        yield counter, f"{-amount:f} {currency}"
        return
    other = line["settlement_currency"]
    yield balance, f"{net:f} {other}"
    if fee:
        yield f"Expenses:Fees:{provider}", f"{fee:f} {other}"
    if other == currency or not amount:
        yield counter, f"{-gross:f} {other}"
    else:
        yield counter, f"{-amount:f} {currency} @@ {abs(gross):f} {other}"


def _quoted(text: str) -> str:
    flat = "".join(each if each.isprintable() else " " for each in text)
    return flat.replace("\\", "\\\\").replace('"', '\\"')


Writer = Callable[[Iterable[Line], str, TextIO], None]
AS_TEXT: Mapping[str, Writer] = {"csv": write_csv, "jsonl": write_jsonl, "beancount": write_beancount}
FORMATS: Sequence[str] = (*AS_TEXT, "parquet")

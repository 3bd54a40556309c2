"""Every query of docs/sql.md, as it stands there, against a real DuckDB over a made-up year."""

import gzip
import json
import os
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from chalicelib import money
from chalicelib.payments import project
from ops.books.formats import write_parquet
from ops.books.lines import FIRST, LAST, Zone
from ops.books.store import Store
from tests.conftest import ROOT
from tests.core.test_books import Year, made_up

QUERIES = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "sql.md").read_text(), re.DOTALL)
OF_ATHENA = "CREATE EXTERNAL TABLE"


@pytest.fixture(scope="module")
def year() -> Year:
    return made_up()


@pytest.fixture(scope="module")
def answers(year: Year, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Any]]]:
    """What each query says, by its text: of the exported file, and of the table as DynamoDB exports it."""
    folder = tmp_path_factory.mktemp("sql")
    store = Store("movement")
    store.read(year.ledger, Zone())
    write_parquet(store.lines(FIRST, LAST), "movement", folder / "movements.parquet")
    export_table(year, folder / "data")
    before = Path.cwd()
    os.chdir(folder)
    try:
        connection = duckdb.connect()
        own = [query for query in QUERIES if not query.startswith(OF_ATHENA)]
        yield {query: connection.execute(query).fetchall() for query in own}
    finally:
        os.chdir(before)


def export_table(year: Year, folder: Path) -> None:
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html"""
    folder.mkdir()
    items = year.ledger._table._aws.items.values()  # type: ignore[attr-defined]
    with gzip.open(folder / "part.json.gz", "wt") as file:
        for item in items:
            file.write(json.dumps({"Item": json.loads(item)}) + "\n")


def of(answers: dict[str, list[Any]], words: str) -> list[Any]:
    [found] = [rows for query, rows in answers.items() if words in query]
    return found


def test_each_query_has_an_answer(answers: dict[str, list[Any]]) -> None:
    """One alone is not run: Athena's definition of the table, whose columns are DuckDB's."""
    assert len(answers) == len(QUERIES) - 1
    assert all(rows for query, rows in answers.items() if not query.startswith("CREATE"))
    [athena] = [query for query in QUERIES if query.startswith(OF_ATHENA)]
    [here] = [query for query in QUERIES if "read_json" in query]
    columns = re.findall(r"(\w+):struct<(?=[sn]:)", athena)
    assert columns == re.findall(r"(\w+) STRUCT\((?=[SN] )", here)


def test_what_they_say_is_what_the_ledger_says(year: Year, answers: dict[str, list[Any]]) -> None:
    """To the cent: captured and net, by the file and by the table."""
    payments = [project(each.subject, year.ledger.payment(each.subject).facts) for each in year.payments]
    captured: dict[str, Decimal] = {}
    net: dict[str, int] = {}
    for each in payments:
        currency = each.currency or ""
        whole = Decimal(each.captured).scaleb(-money.exponent(currency))
        captured[currency] = captured.get(currency, Decimal(0)) + whole
        net[currency] = net.get(currency, 0) + each.net
    by_file: dict[str, Decimal] = {}
    for _, currency, total, _ in of(answers, "AS captures"):
        by_file[currency] = by_file.get(currency, Decimal(0)) + total
    assert by_file == captured
    by_table: dict[str, int] = {}
    for row in of(answers, "AS payments, sum(captured) AS captured"):
        by_table[row[1]] = by_table.get(row[1], 0) + row[-1]
    assert by_table == net
    refunded = sum(-row[-1] for row in of(answers, "AS given_back_in"))
    assert refunded < 0
    disputed = sum(each.disputed for each in payments)
    assert sum(row[-1] for row in of(answers, "disputed DESC")) == disputed

"""``daybook compare``: a table of one's own beside the ledger, on a stage."""

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ops import compare
from ops.cli import main
from ops.compare import BadTable, Comparison, Mapped, rows
from ops.stage import Stage
from ops.stories import tell
from tests.fakes import NOW, MemoryInbox, as_bytes, consumer, message_of

Json = dict[str, Any]
Run = Callable[..., Result]
MAPS = ("--map", "id=pi", "--map", "captured=total", "--map", "refunded=back", "--map", "status=state")


@pytest.fixture
def run(stage: Stage, aws: dict[str, str]) -> Run:
    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["compare", *arguments, "--stage", stage.name], env=aws)

    return invoke


@pytest.fixture
def payments(stage: Stage) -> list[Json]:
    """Four of Stripe's with two refunds each, as a shop's own table has them."""
    table = []
    for seed in range(4):
        subject, events = tell("stripe", random.Random(seed), NOW, 5000, "EUR", story="partial-refunds")
        for event in events:
            consumer(stage.ledger(), MemoryInbox()).record(message_of(as_bytes(event)), NOW + 60_000)
        about = events[0]["data"]["object"]
        row = {"pi": subject.partition(":")[2], "total": "50.00", "back": "12.00", "state": "part"}
        table.append({**row, "order": about["metadata"]["order_id"]})
    return table


def written(path: Path, table: list[Json]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return str(path)


def test_a_table_that_says_the_same_is_equal(payments: list[Json], run: Run, tmp_path: Path) -> None:
    """By id, with or without the provider; in CSV or JSON lines."""
    payments[0]["pi"] = f"stripe:{payments[0]['pi']}"
    path = written(tmp_path / "own.csv", payments)
    result = run(path, *MAPS, "--status", "part=partially_refunded", "--since", "2026-11-01")
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        "4 compared, 4 equal (100.000 %), 0 different, 0 not in the ledger, 0 not in the file\n"
    )
    lines = tmp_path / "own.jsonl"
    lines.write_text(
        "\n".join(json.dumps({**each, "total": 5000, "back": 1200}) for each in payments) + "\n\n"
    )
    assert run(str(lines), *MAPS, "--status", "part=partially_refunded", "--minor").exit_code == 0


def test_what_differs_is_named_and_counted(payments: list[Json], run: Run, tmp_path: Path) -> None:
    """A sum, a payment that is not there, one that the file has not; and whether that is good enough."""
    payments[1]["back"] = "0.00"
    payments[2]["pi"] = "pi_unknown"
    path = written(tmp_path / "own.csv", payments)
    arguments = (path, *MAPS, "--status", "part=partially_refunded", "--since", "2026-11-01")
    result = run(*arguments)
    assert result.exit_code == 3
    assert (
        f"stripe:{payments[1]['pi']}: different: refunded 0 in the file, 1200 in the ledger" in result.stdout
    )
    assert "pi_unknown: not in the ledger" in result.stdout
    assert "not in the file: status partially_refunded, captured 5000" in result.stdout
    assert (
        "5 compared, 2 equal (40.000 %), 1 different, 1 not in the ledger, 1 not in the file" in result.stdout
    )
    found = json.loads(run(*arguments, "--json").stdout)
    assert (found["compared"], found["equal"], found["different"], len(found["found"])) == (5, 2, 1, 3)
    assert run(*arguments, "--at-least", "40").exit_code == 0
    assert run(*arguments, "--at-least", "40.1").exit_code == 3


def test_an_order_finds_its_payment(payments: list[Json], run: Run, tmp_path: Path) -> None:
    """Where the table has no id of the provider's."""
    path = written(tmp_path / "own.csv", payments)
    assert run(path, "--map", "reference=order", "--map", "captured=total").exit_code == 0
    payments[0]["order"] = "another"
    path = written(tmp_path / "own.csv", payments)
    result = run(path, "--map", "reference=order", "--map", "captured=total")
    assert (result.exit_code, "another: not in the ledger" in result.stdout) == (3, True)


def test_cells_that_are_empty_are_not_compared(payments: list[Json], run: Run, tmp_path: Path) -> None:
    """A table need not know all."""
    payments[0]["back"] = payments[0]["state"] = ""
    path = written(tmp_path / "own.csv", payments[:1])
    assert run(path, *MAPS).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--map", "captured=total"), 1, "which column names the payment"),
        (("--map", "id=nothing"), 1, "no column nothing; it has pi, total"),
        (("--map", "id=pi", "--map", "captured=state"), 1, "part in the column state is no amount in EUR"),
        (("--map", "id=pi", "--map", "colour=state"), 2, "colour cannot be compared"),
        (("--map", "id"), 2, "id is not NAME=VALUE"),
        (("--map", "id=pi", "--since", "soon"), 2, "not an ISO 8601"),
    ],
)
def test_a_mapping_that_is_wrong_says_so(
    payments: list[Json], run: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    """One line on what to do."""
    result = run(written(tmp_path / "own.csv", payments), *arguments)
    assert (result.exit_code, says in result.stderr) == (code, True), result.output


def test_a_line_that_is_no_object_says_which(tmp_path: Path) -> None:
    """Whatever the file is."""
    path = tmp_path / "own.jsonl"
    for wrong in ("[1]", "{", "5"):
        path.write_text('{"id": "pi_1"}\n' + wrong)
        with pytest.raises(BadTable, match="line 2 is no JSON object"):
            list(rows(path))


def test_a_long_table_is_read_by_hundreds(
    stage: Stage, payments: list[Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a payment that is named twice is compared twice, and counted as seen once."""
    monkeypatch.setattr(compare, "BATCH", 3)
    comparison = Comparison(stage.ledger(), Mapped(columns={"id": "pi", "captured": "total"}))
    table = [payments[n % 4] for n in range(50)]
    assert list(comparison.of_file(table)) == []
    assert comparison.tally.compared == 50
    assert list(comparison.of_ledger(0, NOW * 2)) == []
    comparison.close()


@pytest.mark.parametrize("text", ["", "pi,total,back,state\n"])
def test_a_file_without_rows_is_equal_to_nothing(run: Run, tmp_path: Path, text: str) -> None:
    """An export of one's own that failed must not be a green light."""
    (tmp_path / "own.csv").write_text(text)
    result = run(str(tmp_path / "own.csv"), "--map", "id=pi", "--map", "captured=total", "--at-least", "99.9")
    assert (result.exit_code, "nothing was compared" in result.output) == (3, True)


def test_an_amount_that_is_none_is_named_with_its_row(payments: list[Json], run: Run, tmp_path: Path) -> None:
    """Of a hundred thousand it could not be found; nor does a huge one, or a long cell, end it otherwise."""
    for wrong in ("10,00", "1e999999999"):
        payments[2]["total"] = wrong
        result = run(written(tmp_path / "own.csv", payments), *MAPS)
        assert (result.exit_code, f"row 3: {wrong} in the column total is no amount" in result.output) == (
            1,
            True,
        )
    payments[2]["total"] = "50.00"
    payments = [{**each, "raw": "x" * 200_000} for each in payments]
    result = run(written(tmp_path / "own.csv", payments), *MAPS, "--status", "part=partially_refunded")
    assert result.exit_code == 0, result.output[-300:]
    semicolons = tmp_path / "semi.csv"
    semicolons.write_text("pi;total\npi_1;5\n")
    result = run(str(semicolons), *MAPS)
    assert "it has pi;total" in result.output
    assert "None" not in result.output

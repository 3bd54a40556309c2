"""The books as people reach them: ``daybook export`` and ``payouts``, and the console's pages, on a stage."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient

from chalicelib.ledger import Ledger
from chalicelib.made_of import Part
from chalicelib.providers.stripe.payouts import LISTED
from ops.cli import main
from ops.commands import accounting
from ops.console import bookkeeping
from ops.console.app import create_app
from ops.stage import Stage
from tests.fakes import NOW, MemoryInbox, as_bytes, consumer, message_of
from tests.simulators import START, StripeSimulator
from tests.stage.test_console_pages import OWN, console

Json = dict[str, Any]
Run = Callable[..., Result]
DAY = 86_400


def know(ledger: Ledger, events: list[Json]) -> None:
    for each in events:
        consumer(ledger, MemoryInbox()).record(message_of(as_bytes(each)), NOW + 60_000)


def payout(sums: list[list[Any]], amount: int = 4825) -> Json:
    about = {"id": "po_1", "object": "payout", "amount": amount, "currency": "eur", "status": "paid"}
    about |= {"created": START + DAY, "arrival_date": START + 3 * DAY, "automatic": True, LISTED: sums}
    event = {"id": "evt_po", "object": "event", "type": "payout.paid", "created": START + 2 * DAY}
    return {**event, "livemode": False, "data": {"object": about}}


def entry(simulator: StripeSimulator) -> Json:
    """What the balance shows of its charge, as it is asked for."""
    source = {"id": simulator.charge_id, "object": "charge", "payment_intent": simulator.intent_id}
    about: Json = {"id": "txn_1", "object": "balance_transaction", "amount": 5000, "fee": 175, "net": 4825}
    about |= {"currency": "eur", "source": source, "type": "charge"}
    event = {"id": "evt_txn", "object": "event", "type": "x", "created": START, "livemode": False}
    return {**event, "data": {"object": about}}


@pytest.fixture
def sold(stage: Stage) -> str:
    """A payment with its fee, in a payout, with a reference that a spreadsheet would run."""
    simulator = StripeSimulator(1)
    simulator.succeed()
    session: Json = {"id": "cs_1", "object": "checkout.session", "payment_intent": simulator.intent_id}
    session |= {"currency": "eur", "client_reference_id": "=cmd()", "amount_total": 5000}
    named = {"id": "evt_cs", "object": "event", "type": "checkout.session.completed", "created": START}
    ledger = stage.ledger()
    know(ledger, [*simulator.events, {**named, "data": {"object": session}}, entry(simulator)])
    part = Part(
        id="txn_1",
        kind="charge",
        at=START * 1000,
        gross=5000,
        fee=175,
        net=4825,
        object=simulator.charge_id,
        payment=simulator.subject,
    )
    ledger.made_of.put("stripe:po_1", [part])
    know(ledger, [payout([["charge", 1, 5000, 175, 4825]])])
    return simulator.subject


@pytest.fixture
def run(stage: Stage, aws: dict[str, str]) -> Run:
    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "--stage", stage.name], env=aws)

    return invoke


@pytest.fixture
def client(stage: Stage) -> Iterator[FlaskClient]:
    with create_app(console(stage, [])).test_client() as made:
        yield made


def get(client: FlaskClient, path: str) -> tuple[int, str]:
    answer = client.get(path, headers={"Host": OWN["Host"]})
    return answer.status_code, answer.get_data(as_text=True)


# ── the command ─────────────────────────────────────────────────────────────────────────────────────


def test_the_export_is_a_file_that_can_be_opened(sold: str, run: Run, tmp_path: Path) -> None:
    """On the terminal, or where it is asked for; the reference is text in it."""
    result = run("export", "--tz", "Europe/Berlin")
    assert result.exit_code == 0, result.output
    head, charge, paid_out = result.stdout.splitlines()
    assert head.startswith("at,local,provider,account,kind,id,")
    assert ",'=cmd()," in charge
    assert ",stripe:po_1,EUR,50.00,EUR,50.00,1.75,48.25," in charge
    assert "+01:00" in charge
    assert ",payout," in paid_out
    assert ",-48.25," in paid_out
    path = tmp_path / "books.csv"
    assert run("export", "--tz", "Europe/Berlin", "-o", str(path)).exit_code == 0
    assert path.read_text() == result.stdout
    assert [each.name for each in tmp_path.iterdir()] == ["books.csv"]


def test_each_format_and_each_kind_of_line(sold: str, run: Run, tmp_path: Path) -> None:
    """JSON lines by payment and payout; a parquet file; beancount."""
    [payment] = run("export", "--by", "payment", "--format", "jsonl").stdout.splitlines()
    assert json.loads(payment)["net"] == 4825
    [sent] = run("export", "--by", "payout", "--format", "jsonl").stdout.splitlines()
    assert (json.loads(sent)["amount"], json.loads(sent)["consistent"]) == (4825, True)
    path = tmp_path / "books.parquet"
    assert run("export", "--format", "parquet", "-o", str(path)).exit_code == 0
    assert path.read_bytes()[:4] == b"PAR1"
    assert '* "stripe" "capture =cmd()"' in run("export", "--format", "beancount").stdout


def test_a_period_without_movements_is_a_file_without_lines(sold: str, run: Run) -> None:
    """The end is not in it."""
    assert len(run("export", "--until", "2026-01-01").stdout.splitlines()) == 1
    assert len(run("export", "--since", "2027-01-01").stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--tz", "Mars/Olympus"), "no time zone"),
        (("--since", "soon"), "not an ISO 8601"),
        (("--since", "2026-02-01", "--until", "2026-01-01"), "--since is after --until"),
        (("--format", "beancount", "--by", "payout"), "by movement"),
        (("--format", "parquet"), "needs --output"),
    ],
)
def test_what_cannot_be_exported_says_why(run: Run, arguments: tuple[str, ...], says: str) -> None:
    """Before anything is read."""
    result = run("export", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_file_that_fails_leaves_nothing_half_written(sold: str, run: Run, tmp_path: Path) -> None:
    """And what was there before stays."""
    path = tmp_path / "books.csv"
    path.write_text("last month's")

    def fail() -> None:
        with accounting.whole(path) as beside:
            beside.write_text("half")
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="full"):
        fail()
    assert path.read_text() == "last month's"
    assert [each.name for each in tmp_path.iterdir()] == ["books.csv"]


def test_payouts_are_listed_and_shown(sold: str, run: Run) -> None:
    """With what one is made of; and a payment with the payout that it is in."""
    listed = run("payouts").stdout
    assert all(each in listed for each in ("paid", "48.25 EUR", "1 movements", "stripe:po_1"))
    page = json.loads(run("payouts", "--json").stdout)
    assert [each["id"] for each in page["payouts"]] == ["stripe:po_1"]
    assert json.loads(run("payouts", "--status", "failed", "--json").stdout)["payouts"] == []
    shown = run("show", "po_1").stdout
    assert all(each in shown for each in ("2026-11-26", sold, "1.75 EUR"))
    of_payment = run("show", sold).stdout
    assert "stripe:po_1" in of_payment
    assert "settled fee" in of_payment
    whole = json.loads(run("show", "stripe:po_1", "--json").stdout)
    assert (whole["transactions"]["net"], whole["events"][0]["id"]) == (4825, "evt_po")


def test_a_payout_that_does_not_add_up_says_so(stage: Stage, run: Run, client: FlaskClient) -> None:
    """In the list, by itself, and on its page."""
    know(stage.ledger(), [payout([["charge", 1, 5000, 175, 4825]], amount=4000)])
    assert "not consistent" in run("payouts").stdout
    assert "does not add up" in run("show", "po_1").stdout
    status, text = get(client, "/payouts/stripe:po_1")
    assert (status, "comes to 48.25 EUR" in text) == (200, True)


# ── the pages ───────────────────────────────────────────────────────────────────────────────────────


def test_each_number_of_a_month_leads_to_its_lines(sold: str, client: FlaskClient) -> None:
    """From the list of months to the payment behind a number, and to its payout."""
    status, text = get(client, "/months")
    assert (status, "/months/2026-11" in text) == (200, True)
    status, text = get(client, "/months/2026-11")
    assert status == 200
    for each in ("50.00 EUR", "-1.75 EUR", "-48.25 EUR", "0.00 EUR"):
        assert each in text
    for column in ("captured", "fees"):
        of = "provider=stripe&amp;account=&amp;is_test=1&amp;currency=EUR"
        link = f"/months/2026-11/lines?{of}&amp;column={column}"
        assert link in text
        status, lines = get(client, link.replace("&amp;", "&"))
        assert status == 200
        assert f"/payments/{sold}" in lines
        assert "/payouts/stripe:po_1" in lines
        assert "1 movements" in lines
    status, lines = get(client, "/months/2026-11/lines?provider=stripe&is_test=1&currency=EUR")
    assert "2 movements" in lines


def test_months_are_those_of_the_time_zone(sold: str, client: FlaskClient) -> None:
    """And what is no time zone, or no month, says so."""
    status, text = get(client, "/months/2026-11?tz=Asia/Tokyo")
    assert (status, "that of Asia/Tokyo" in text) == (200, True)
    assert get(client, "/months/2026-11?tz=Mars")[0] == 400
    assert get(client, "/months/2031-01")[0] == 404
    assert get(client, "/months/2026-11/lines?column=x&provider=stripe&currency=EUR")[0] == 400


def test_a_large_ledger_is_read_in_the_background(
    sold: str, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says how far it is, and comes back by itself."""
    monkeypatch.setattr(bookkeeping, "WAIT", 0.0)
    status, text = get(client, "/months")
    assert (status, "Reading the books" in text) == (200, True)
    deadline = time.monotonic() + 20
    while "Reading the books" in text and time.monotonic() < deadline:
        time.sleep(0.05)
        status, text = get(client, "/months")
    assert "/months/2026-11" in text


def test_a_ledger_that_cannot_be_read_is_said_on_the_page(
    client: FlaskClient, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next look tries again."""
    stage.client("dynamodb").delete_table(TableName=stage.names.table)
    status, text = get(client, "/months")
    assert status == 502
    assert "Reading the books" not in text


def test_payouts_have_pages(sold: str, client: FlaskClient) -> None:
    """A list, and one with its parts; found by its id; the payment names it."""
    status, text = get(client, "/payouts")
    assert (status, "/payouts/stripe:po_1" in text) == (200, True)
    status, text = get(client, "/payouts/stripe:po_1")
    assert status == 200
    assert f"/payments/{sold}" in text
    answer = client.get("/find?id=po_1", headers={"Host": OWN["Host"]})
    assert answer.headers["Location"] == "/payouts/stripe:po_1"
    status, text = get(client, f"/payments/{sold}")
    assert "/payouts/stripe:po_1" in text
    assert "48.25 EUR net" in text
    assert get(client, "/payouts/stripe:po_9")[0] == 404


def test_the_time_zones_form_leads_to_where_the_console_lets_one_in(stage: Stage, sold: str) -> None:
    """A deployed stage's pages are below a segment that nobody else knows."""
    made = console(stage, [], say=lambda line: None)
    with create_app(made).test_client() as closed:
        status, text = get(closed, f"/{made.place}/months/2026-11")
    assert status == 200
    assert f'action="/{made.place}/months/2026-11"' in text


def test_what_is_no_file_is_written_to_as_it_is(sold: str, run: Run, tmp_path: Path) -> None:
    """A link's own file is written, with the mode that it had; a device stays one."""
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    assert run("export", "-o", str(link)).exit_code == 0
    assert link.is_symlink()
    assert (real.read_text()[:3], real.stat().st_mode & 0o777) == ("at,", 0o600)
    assert run("export", "-o", "/dev/null").exit_code == 0
    assert Path("/dev/null").is_char_device()


def test_a_file_that_cannot_be_written_says_so_first(run: Run, tmp_path: Path) -> None:
    """One line, and no traceback."""
    result = run("export", "-o", str(tmp_path / "nowhere" / "books.csv"))
    assert (result.exit_code, "cannot be written" in result.stderr) == (1, True)
    assert "Traceback" not in result.stderr


def test_a_list_without_payouts_says_what_to_do(run: Run) -> None:
    """And a status that there is none of is a mistake."""
    assert "no payouts: subscribe" in run("payouts").stdout
    assert run("payouts", "--status", "bogus").exit_code == 2

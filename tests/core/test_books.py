"""The books of a made-up year: export, months, ledger and the providers' own books are equal to the cent."""

import csv
import io
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from beancount import loader

from chalicelib import listing, money
from chalicelib.ledger import Ledger
from chalicelib.payments import project
from chalicelib.providers.paypal.client import PayPalApi
from chalicelib.providers.stripe.client import StripeApi
from chalicelib.times import sortable, to_iso
from ops.books.formats import write_beancount, write_csv, write_jsonl, write_parquet
from ops.books.lines import COLUMNS, FIRST, LAST, Line, Zone
from ops.books.months import COLUMNS as MONTHLY
from ops.books.months import KINDS_OF, months
from ops.books.store import Store, Sum
from tests.banks import PayPalBank, StripeBank
from tests.fake_apis import FakePayPal, FakeStripe
from tests.settling import Shop
from tests.simulators import Action, Entry, PayPalSimulator, Simulator, StripeSimulator

DAY = 86_400
BEGINS = 1_767_268_800  # seconds; 2026-01-01T12:00:00Z
DAYS = 365
WEEKLY = 7 * DAY
SUMMED = (("amount", "currency"), ("net", "settlement_currency"), ("fee", "settlement_currency"))


@dataclass(frozen=True)
class Year:
    """What the providers did, and the ledger that was told of it."""

    payments: list[Simulator]
    stripe: StripeBank
    paypal: PayPalBank
    ledger: Ledger


def lived(rng: random.Random, number: int, at: int) -> Simulator:
    """A payment that is paid, and what becomes of it weeks later."""
    currency = rng.choice(("EUR", "EUR", "USD"))
    simulator: Simulator
    if number % 2:
        simulator = StripeSimulator(rng.getrandbits(40), tie=True, start=at, currency=currency)
        simulator.succeed()
        changes: list[Action] = [("refund", (rng.randint(100, 4000), "succeeded"))] * 2
        changes += [("dispute", (end, "eur")) for end in ("won", "lost", "needs_response")]
        changes += [("refund", (700, "pending")), ("fail_refund", ())]
    else:
        simulator = PayPalSimulator(rng.getrandbits(40), tie=True, start=at, currency=currency)
        simulator.complete()
        changes = [("refund", (rng.randint(100, 4000), "COMPLETED"))] * 2 + [("reverse", (500,))]
        changes += [("dispute", (None,)), ("dispute", ("RESOLVED_SELLER_FAVOUR",))]
        changes += [("dispute", ("RESOLVED_BUYER_FAVOUR",))] if currency == "EUR" else []
    for name, arguments in rng.sample(changes, rng.randint(0, 2)):
        simulator.now += rng.randint(1, 40) * DAY
        getattr(simulator, name)(*arguments)
    return simulator


def banked(rng: random.Random, payments: list[Simulator]) -> tuple[StripeBank, PayPalBank]:
    """Stripe pays out each week, some payouts come back; PayPal's is withdrawn each month."""
    stripe, paypal = StripeBank(), PayPalBank()
    for each in payments:
        if isinstance(each, StripeSimulator):
            stripe.add(each)
    for month in range(12):
        stripe.charge_fee(f"radar{month}", BEGINS + (30 * month + 25) * DAY, rng.randint(1, 300))
        paypal.withdraw(f"W{month:016}", BEGINS + (30 * month + 27) * DAY, rng.randint(1, 20_000))
    for week in range(1, DAYS // 7):
        stripe.pay_out(BEGINS + week * WEEKLY, fails=week % 11 == 0)
    return stripe, paypal


@pytest.fixture(scope="module")
def year() -> Year:
    return made_up()


def made_up() -> Year:
    """Of both providers, in two currencies, told in any order, and asked for what no webhook says."""
    rng = random.Random(2026)
    payments = [lived(rng, n, BEGINS + rng.randrange(DAYS - 80) * DAY) for n in range(160)]
    stripe, paypal = banked(rng, payments)
    shop = Shop()
    shop.clock.now = (BEGINS + DAYS * DAY) * 1000
    events = [
        ("stripe" if isinstance(s, StripeSimulator) else "paypal", e) for s in payments for e in s.events
    ]
    events += [("stripe", each) for each in stripe.events]
    for provider, event in rng.sample(events, len(events)):
        shop.know([event], provider)
    with FakeStripe([], stripe) as stripes, FakePayPal([], size=50, bank=paypal) as paypals:
        shop.apis |= {
            "stripe": StripeApi("rk_test_1", stripes.address, shop.clock),
            "paypal": PayPalApi(paypals.address, ("id", "secret"), shop.clock),
        }
        shop.hour(since=BEGINS * 1000)
        assert shop.hour() == []
    return Year(payments, stripe, paypal, shop.ledger)


@pytest.fixture(scope="module")
def store(year: Year) -> Iterator[Store]:
    made = Store("movement")
    made.read(year.ledger, Zone())
    yield made
    made.close()


def whole(store: Store) -> list[Line]:
    return list(store.lines(FIRST, LAST))


# ── what is equal ───────────────────────────────────────────────────────────────────────────────────


def test_the_file_is_the_ledger_and_the_simulators(year: Year, store: Store) -> None:
    """Captured, refunded and disputed, by provider and currency; and each payment's net."""
    of_file: dict[tuple[str, str], int] = defaultdict(int)
    of_ledger: dict[tuple[str, str], int] = defaultdict(int)
    of_books: dict[tuple[str, str], int] = defaultdict(int)
    for line in whole(store):
        if line["payment"]:
            of_file[line["provider"], line["currency"]] += line["amount"]
    for each in year.payments:
        payment = project(each.subject, year.ledger.payment(each.subject).facts)
        of_ledger[payment.provider, payment.currency or ""] += payment.net
        of_books[payment.provider, each.currency] += each.captured - each.given_back - each.disputed
        assert payment.consistent, each.events
    assert of_file == of_ledger == of_books
    assert set(of_file) == {(p, c) for p in ("stripe", "paypal") for c in ("EUR", "USD")}


def test_what_the_balance_says_is_in_the_file_once(year: Year, store: Store) -> None:
    """Each entry of the providers' books, its gross and its fee; the payouts too."""
    found = [each for each in whole(store) if each["net"] is not None]
    stripes = [each for each in found if each["provider"] == "stripe"]
    assert len(stripes) == len(year.stripe.transactions)
    assert sum(each["net"] for each in stripes) == sum(each["net"] for each in year.stripe.transactions)
    assert sum(each["fee"] for each in stripes) == sum(each["fee"] for each in year.stripe.transactions)
    paypals = [each for each in found if each["provider"] == "paypal"]
    entries = [each for s in year.payments if isinstance(s, PayPalSimulator) for each in s.balance]
    withdrawn = [each["transaction_info"]["transaction_amount"]["value"] for each in year.paypal.transfers]
    expected = sum(each.gross - each.fee for each in entries)
    assert sum(each["net"] for each in paypals) == expected + sum(round(float(v) * 100) for v in withdrawn)


def of_books(year: Year) -> dict[tuple[str, str, str, str], int]:
    """By month, provider, currency and column of the month's page, as the providers have it."""
    sums: dict[tuple[str, str, str, str], int] = defaultdict(int)
    kinds = {kind: column for column, kinds in KINDS_OF.items() for kind in kinds}
    names = {"charge": "capture", "refund_failure": "refund", "dispute_reversal": "dispute"}
    names |= {"payout_failure": "payout"}

    def add(provider: str, entry: Entry) -> None:
        month, kind = to_iso(entry.at * 1000)[:7], names.get(entry.kind, entry.kind)
        sums[month, provider, entry.currency, kinds[kind]] += entry.gross
        sums[month, provider, entry.currency, "fees"] -= entry.fee

    for simulator in year.payments:
        if isinstance(simulator, PayPalSimulator):
            for entry in (*simulator.balance, *simulator.holds):
                add("paypal", entry)
    for each in year.stripe.transactions:
        about = (each["created"], each["amount"], each["fee"], each["currency"].upper())
        add("stripe", Entry(each["type"].replace("stripe_", ""), "", *about))
    for each in year.paypal.transfers:
        info = each["transaction_info"]
        at, value = info["transaction_initiation_date"], info["transaction_amount"]["value"]
        sums[at[:7], "paypal", "EUR", "paid_out"] += round(float(value) * 100)
    return {key: value for key, value in sums.items() if value}


def test_each_month_is_the_providers_own_to_the_cent(year: Year, store: Store) -> None:
    """By what came and went; and each opens with what the one before closed with."""
    found = months(store.sums())
    ours = {
        (each.month, each.provider, each.currency, column): getattr(each, column)
        for each in found
        for column in MONTHLY
        if getattr(each, column)
    }
    assert ours == of_books(year)
    by_balance = defaultdict(list)
    for each in found:
        by_balance[each.provider, each.currency].append(each)
    for own in by_balance.values():
        assert own[0].opening == 0
        for before, after in pairwise(own):
            assert after.opening == before.closing
        assert [each.month for each in own] == sorted({each.month for each in own})
    assert {each.month for each in found} >= {f"2026-{n:02}" for n in range(1, 13)}


def test_a_balance_ends_with_what_is_not_paid_out_yet(year: Year, store: Store) -> None:
    """Of Stripe's, all of which its balance shows."""
    [last] = [each for each in months(store.sums()) if (each.provider, each.month) == ("stripe", "2026-12")]
    assert last.closing == sum(each["net"] for each in year.stripe.transactions)
    assert last.not_settled == 0


def test_payouts_are_what_the_bank_got_and_name_their_payments(year: Year, store: Store) -> None:
    """Every movement that was paid out says in which payout, and these add up to it."""
    page = Store("payout")
    page.read(year.ledger, Zone())
    found = {each["id"]: each for each in page.lines(FIRST, LAST)}
    stripes = {name: each for name, each in found.items() if each["provider"] == "stripe"}
    assert {name: each["amount"] for name, each in stripes.items()} == {
        f"stripe:{name}": each["amount"] for name, each in year.stripe.payouts.items()
    }
    assert all(each["consistent"] and each["net"] == each["amount"] for each in stripes.values())
    by_payout: dict[str, int] = defaultdict(int)
    for line in whole(store):
        if line["payout"] and line["kind"] != "payout" and line["net"] is not None:
            by_payout[line["payout"]] += line["net"]
    returned = {name for name, each in stripes.items() if each["status"] == "failed"}
    assert returned
    in_others = {each["id"]: each["net"] for each in whole(store) if each["kind"] == "payout"}
    for name, each in stripes.items():
        parts = [*year.ledger.made_of.of(name)]
        of_payments = sum(part.net for part in parts if part.kind != "payout_failure")
        assert by_payout[name] == of_payments
        assert sum(part.net for part in parts) == each["amount"]
    assert sum(in_others.values()) < 0


# ── files ───────────────────────────────────────────────────────────────────────────────────────────


def as_text(write: Any, store: Store) -> str:
    file = io.StringIO()
    write(store.lines(FIRST, LAST), store.by, file)
    return file.getvalue()


def major(amount: int | None, currency: str | None) -> Decimal | None:
    return None if amount is None else Decimal(amount).scaleb(-money.exponent(currency or "EUR"))


def test_every_format_has_the_same_sums(store: Store, tmp_path: Path) -> None:
    """CSV, JSON lines and Parquet, read by others than wrote them."""
    expected: dict[str, Decimal] = defaultdict(Decimal)
    for line in whole(store):
        for name, of in SUMMED:
            expected[f"{name} {line[of]}"] += major(line[name], line[of]) or 0
    of_csv: dict[str, Decimal] = defaultdict(Decimal)
    of_json: dict[str, Decimal] = defaultdict(Decimal)
    rows = list(csv.DictReader(io.StringIO(as_text(write_csv, store))))
    objects = [json.loads(line) for line in as_text(write_jsonl, store).splitlines()]
    assert len(rows) == len(objects) == len(whole(store))
    for row, shown in zip(rows, objects, strict=True):
        for name, of in SUMMED:
            of_csv[f"{name} {row[of] or None}"] += Decimal(row[name] or 0)
            of_json[f"{name} {shown[of]}"] += major(shown[name], shown[of]) or 0
    path = tmp_path / "year.parquet"
    write_parquet(store.lines(FIRST, LAST), "movement", path)
    of_parquet: dict[str, Decimal] = defaultdict(Decimal)
    for name, of in SUMMED:
        query = f"SELECT {of}, sum({name}) FROM '{path}' GROUP BY 1"
        for currency, total in duckdb.connect().execute(query).fetchall():
            of_parquet[f"{name} {currency}"] += total or 0
    assert of_csv == of_json == of_parquet == expected


def test_beancount_takes_the_file_and_comes_to_the_same_balances(store: Store, tmp_path: Path) -> None:
    """Without an error: every transaction balances, every account was opened."""
    path = tmp_path / "year.beancount"
    path.write_text(as_text(write_beancount, store))
    entries, errors, _ = loader.load_file(str(path))
    assert [each.message for each in errors] == []
    totals: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for entry in entries:
        for posting in getattr(entry, "postings", ()):
            totals[posting.account, posting.units.currency] += posting.units.number
    last = {(each.provider.title(), each.currency): each.closing for each in months(store.sums())}
    of_file = {
        (provider, currency): totals[f"Assets:{provider}", currency].scaleb(2) for provider, currency in last
    }
    assert of_file == last


def test_the_same_ledger_gives_the_same_bytes(year: Year, store: Store) -> None:
    """Read again, in whatever order its pages come."""
    again = Store("movement")
    again.read(year.ledger, Zone())
    for write in (write_csv, write_jsonl, write_beancount):
        assert as_text(write, again) == as_text(write, store)


def test_a_part_of_the_time_is_a_part_of_the_file(store: Store) -> None:
    """Months that meet make up the year, each line in one of them."""
    instants = [f"2026-{n:02}-01" for n in range(1, 13)] + ["2027-01-01", "9999-12-31"]
    found = [line for since, until in pairwise(instants) for line in store.lines(since, until)]
    assert found == whole(store)


def test_dates_are_in_the_time_zone_that_was_asked_for(year: Year) -> None:
    """Beside UTC, by which the file is in order."""
    berlin = Zone(ZoneInfo("Europe/Berlin"))
    made = Store("movement")
    made.read(year.ledger, berlin)
    for line in whole(made):
        assert line["local"].endswith(("+01:00", "+02:00"))
        assert Zone().instant(line["local"]) // 1000 == Zone().instant(line["at"]) // 1000
    midnight = sortable(berlin.instant("2026-07-01"))
    assert midnight == "2026-06-30T22:00:00.000Z"


def test_by_payment_each_has_its_sums(year: Year) -> None:
    """One line for each that moved money, with what is known of its settlement."""
    made = Store("payment")
    made.read(year.ledger, Zone())
    found = {each["id"]: each for each in made.lines(FIRST, LAST)}
    assert list(next(iter(found.values()))) == list(COLUMNS["payment"])
    assert len(found) == len(year.payments)
    for each in year.payments:
        line = found[each.subject]
        assert line["amount"] == each.captured - each.given_back - each.disputed
        payment = project(each.subject, year.ledger.payment(each.subject).facts)
        assert payment.settled is not None
        assert (line["gross"], line["fee"], line["net"], line["complete"]) == (
            payment.settled.gross,
            payment.settled.fee,
            payment.settled.net,
            payment.settled.complete,
        )


def test_every_record_is_read_though_a_day_has_many(year: Year, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page."""
    monkeypatch.setattr(listing, "AT_ONCE", 1)
    days = year.ledger.days(FIRST, LAST)
    assert len([*listing.every(year.ledger, "payment", days)]) == len(year.payments)


def test_text_that_a_spreadsheet_would_run_is_text() -> None:
    """A reference is written by whoever pays."""
    line = dict.fromkeys(COLUMNS["movement"]) | {"currency": "EUR", "amount": -1230}
    for evil in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"):
        file = io.StringIO()
        write_csv([{**line, "reference": evil}], "movement", file)
        [row] = csv.DictReader(io.StringIO(file.getvalue(), newline=""))
        assert row["reference"] == "'" + evil.replace("\t", " ").replace("\r", " ")
        assert row["amount"] == "-12.30"  # a number of ours is one


@pytest.mark.parametrize(
    ("evil", "plain"),
    [("foo;=1+1", "foo;'=1+1"), ("\n=1+1", "' =1+1"), ("​=1", "' =1"), ("a; +1", "a;' +1")],
)
def test_a_formula_is_none_after_a_semicolon_or_what_is_not_seen(evil: str, plain: str) -> None:
    """Where a semicolon separates fields, quotes around a comma's field are none."""
    line = dict.fromkeys(COLUMNS["movement"]) | {"reference": evil}
    file = io.StringIO()
    write_csv([line], "movement", file)
    [row] = csv.DictReader(io.StringIO(file.getvalue()))
    assert row["reference"] == plain


def test_text_that_is_no_unicode_is_written_all_the_same(tmp_path: Path) -> None:
    """Half of a pair, as JSON can hold it."""
    line = dict.fromkeys(COLUMNS["movement"]) | {
        "reference": "x\ud800y",
        "kind": "capture",
        "at": "2026-01-01",
    }
    line |= {"provider": "stripe", "local": "2026-01-01", "id": "a", "object": "b"}
    for write in (write_csv, write_jsonl, write_beancount):
        with (tmp_path / "file").open("w", encoding="utf-8") as file:
            write([line], "movement", file)
    write_parquet([line], "movement", tmp_path / "file.parquet")


def test_an_instant_at_the_end_of_time_is_a_line_like_others() -> None:
    """In every zone, in the file, and in a month that ends."""
    at = Zone().instant("9999-12-31T23:30:00")
    assert Zone(ZoneInfo("Europe/Berlin")).local(at).startswith("9999-12-31")
    sums = [Sum("2026-01", "stripe", "", 0, "EUR", "capture", 5, 0, 0, 1)]
    found = months([*sums, sums[0]._replace(month="9999-12")])
    assert [(each.month, each.opening, each.closing) for each in found] == [
        ("2026-01", 0, 5),
        ("9999-12", 5, 10),
    ]


def test_accounts_and_modes_have_balances_of_their_own() -> None:
    """What a connected account took in is not one's own, nor what a test did."""
    own = Sum("2026-01", "stripe", "", 0, "EUR", "capture", 50, 0, 0, 1)
    found = months([own, own._replace(account="acct_1", gross=70), own._replace(is_test=1, gross=90)])
    assert [(each.account, each.is_test, each.closing) for each in found] == [
        ("", False, 50),
        ("acct_1", False, 70),
        ("", True, 90),
    ]

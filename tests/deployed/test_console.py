"""The console in a real browser, on `make run`: what it shows is what was sent, and nobody else may write."""

import json
import random
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import urllib3
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from chalicelib.ledger import Ledger
from chalicelib.providers.stripe.balance import part
from chalicelib.providers.stripe.payouts import LISTED
from chalicelib.reactions import Task
from chalicelib.times import to_iso
from chalicelib.undelivered import Undelivered
from ops.stage import Stage, connect
from ops.stories import tell
from tests.banks import StripeBank
from tests.conftest import ROOT, wait_until
from tests.fakes import NOW, MemoryInbox, as_bytes, consumer, message_of
from tests.running import Running, folder_of, started
from tests.simulators import StripeSimulator

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SHOTS = ROOT / "build" / "console"
LOOKS: dict[str, tuple[ViewportSize, str]] = {
    "light": ({"width": 1200, "height": 800}, "light"),
    "dark": ({"width": 1200, "height": 800}, "dark"),
    "narrow": ({"width": 400, "height": 800}, "light"),
}
SERIOUS = ("serious", "critical")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: the console was not looked at in a browser"
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(Running(folder_of(tmp_path_factory, "console"))) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser, running: Running) -> Iterator[Page]:
    """A page that notes what it asks for, and what its console says; nothing may be wrong with either."""
    address = f"http://127.0.0.1:{running.ports['CONSOLE_PORT']}"
    context = browser.new_context(base_url=address)
    made = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    made.on("request", lambda request: asked.append(request.url))
    made.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    made.on("pageerror", lambda error: said.append(f"error: {error}"))
    yield made
    context.close()
    assert asked
    assert [url for url in asked if not url.startswith(address)] == []
    assert [line for line in said if line.startswith(("error", "warning"))] == []


@pytest.fixture
def stage(running: Running) -> Stage:
    return connect("local", running.environ)


def sent(running: Running, *arguments: str) -> str:
    """The subject of a story that the command sent, once all of it is recorded."""
    done = running.daybook("send", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def number(page: Page, name: str) -> int:
    return int(page.locator(f"#{name}").inner_text().replace(",", ""))


def test_the_overview_shows_what_was_sent(page: Page, running: Running) -> None:
    """Send a storm: its figures move by themselves, to exactly what was sent; money is what was recorded."""
    page.goto("/send")
    page.get_by_role("button", name="Send a storm").click()
    row = page.locator("#sent tbody tr").first
    expect(row.locator("td").nth(2)).to_have_text(re.compile(r"\d+ of \d+"))
    expect(row.locator("td").nth(2)).to_have_text(re.compile(r"^\d+$"), timeout=60_000)
    count = int(row.locator("td").nth(2).inner_text())
    expect(row.locator("td").nth(3)).to_have_text(f"200 accepted {count}")
    page.goto("/")
    expect(page.locator("#received")).not_to_have_text("0", timeout=15_000)
    expect(page.locator("#received")).to_have_text(f"{count:,}", timeout=20_000)
    expect(page.locator("#accepted")).to_have_text(f"{count:,}")
    expect(page.locator("#refused")).to_have_text("0")
    expect(page.locator("#waiting")).to_have_text("0", timeout=60_000)
    wait_until(lambda: len(listed(running)) >= 30, 60)
    expect(page.locator("#money")).to_be_visible(timeout=15_000)

    def money_is_right() -> bool:
        captured: dict[str, int] = {}
        for each in listed(running):
            captured[each["currency"]] = captured.get(each["currency"], 0) + each["captured"]
        shown = {
            row.locator("th").inner_text(): row.locator("td").first.inner_text().split()[0]
            for row in page.locator("#money tbody tr").all()
        }
        return shown == {currency: f"{sum_ / 100:,.2f}" for currency, sum_ in captured.items() if sum_}

    wait_until(money_is_right, 30)


def listed(running: Running) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(running.daybook("list", "--limit", "100", "--json").stdout)[
        "payments"
    ]
    return found


def test_a_broken_signature_is_refused_and_shown(page: Page) -> None:
    """By its reason."""
    page.goto("/send")
    page.get_by_label("Story").select_option("checkout")
    page.get_by_label("with a broken signature").check()
    page.get_by_role("button", name="Send", exact=True).click()
    page.goto("/")
    expect(page.locator(".tile", has=page.locator("#refused"))).to_contain_text("signature", timeout=15_000)


def test_the_timeline_of_a_shuffled_story(page: Page, running: Running) -> None:
    """Found by an event's id; in the provider's order, with duplicates, latecomers and handlers."""
    subject = sent(
        running, "stripe", "--story", "partial-refunds", "--repeat", "3", "--shuffle", "--seed", "5"
    )
    events = running.shown(subject, 7)["events"]
    page.goto("/")
    page.get_by_label("Payment, event, customer or reference").fill(events[3]["id"])
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(subject)
    expect(page.locator(".status").first).to_have_text("partially refunded")
    expect(page.locator("table.timeline")).to_contain_text("3 times", timeout=15_000)
    rows = page.locator("table.timeline tbody tr")
    expect(rows).to_have_count(7)
    assert [row.locator("td").nth(2).inner_text() for row in rows.all()] == [each["type"] for each in events]
    assert page.locator("table.timeline").get_by_text("late").count() > 0
    handlers = page.get_by_role("region", name="Handlers")
    expect(handlers).to_contain_text("ship")
    expect(handlers).to_contain_text("done")
    expect(page.get_by_role("region", name="Milestones")).to_contain_text("payment.refunded")


def test_a_raw_event_is_masked_until_it_is_asked_for(page: Page, running: Running) -> None:
    """Who somebody is is covered, what happened is not; who looked is in the log."""
    subject = sent(running, "stripe", "payment_intent.succeeded")
    [event] = running.shown(subject, 1)["events"]
    page.goto(f"/event/{event['id']}/of/{subject}")
    text = page.locator("pre").inner_text()
    stored = connect("local", running.environ).ledger().event(subject, event["id"])
    assert stored is not None
    assert stored.body is not None
    whole = json.loads(stored.body)
    assert json.loads(text)["type"] == "payment_intent.succeeded"
    assert json.loads(text)["data"]["object"]["amount"] == whole["data"]["object"]["amount"]
    page.get_by_role("link", name="Show it whole").click()
    assert json.loads(page.locator("pre").inner_text()) == whole
    assert '"looked at a whole event"' in running.log.read_text()


def test_a_parked_event_is_redriven_and_turns_right(page: Page, running: Running, stage: Stage) -> None:
    """With what it would change, before it does."""
    from chalicelib.inbox import Message

    subject, [event] = tell(
        "stripe", random.Random(9), 1_795_400_000_000, 700, "EUR", type_="charge.succeeded"
    )
    now = time.time_ns() // 1_000_000
    message = Message(
        provider="stripe", event_id=event["id"], subject=subject, received_at=now, body=as_bytes(event)
    )
    stage.ledger().parking.park(subject, event["id"], message.encode(), 5, now)
    page.goto("/")
    expect(page.locator("#parked")).to_have_text("1", timeout=10_000)
    page.locator("#parked a").click()
    page.get_by_role("link", name=f"Redrive {event['id']}").click()
    expect(page.locator("#changes")).to_contain_text("captured: 0 becomes 700")
    page.get_by_role("button", name="Redrive").click()
    expect(page.get_by_role("status")).to_contain_text("is sent again")
    wait_until(lambda: stage.ledger().payment(subject).version > 0)
    page.goto(f"/payments/{subject}")
    expect(page.locator(".status").first).to_have_text("succeeded")
    page.goto("/parked")
    expect(page.locator("main")).to_contain_text("Nothing is parked")


def test_handlers_are_replayed_after_a_question(page: Page, running: Running) -> None:
    """Once more, with what they would hear."""
    subject = sent(running, "stripe", "payment_intent.succeeded")
    running.shown(subject, 1)
    page.goto(f"/payments/{subject}")
    page.get_by_role("link", name="Replay handlers").click()
    expect(page.locator("main")).to_contain_text("ship (payment.succeeded)")
    page.get_by_label("again").check()
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_role("status")).to_have_text("1 handlers ran.")


def test_payments_are_filtered_and_found_by_customer(page: Page, running: Running) -> None:
    """By status, currency and amount; a customer's own."""
    subject = sent(running, "stripe", "payment_intent.succeeded", "--amount", "123456", "--currency", "CHF")
    customer = running.shown(subject, 1)["customer"]
    page.goto("/payments")
    page.get_by_label("Currency").fill("chf")
    page.get_by_label("Amount from").fill("1234")
    page.get_by_label("Status").select_option("succeeded")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody")).to_contain_text("1,234.56 CHF")
    page.get_by_label("Amount from").fill("1235")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("main")).to_contain_text("No payment here matches")
    page.get_by_label("Payment, event, customer or reference").fill(customer or subject)
    page.get_by_role("button", name="Find").click()
    expect(page.locator("main")).to_contain_text(subject.partition(":")[2])


# ── who may write ───────────────────────────────────────────────────────────────────────────────────


def test_another_page_may_not_write(browser: Browser, running: Running) -> None:
    """A form of another site, a wrong token, no origin, another host's name: 403, and nothing happens."""
    port = running.ports["CONSOLE_PORT"]
    pool = urllib3.PoolManager()
    own = {"Origin": f"http://127.0.0.1:{port}"}
    text = pool.request("GET", f"http://127.0.0.1:{port}/send").data.decode()
    found = re.search(r'name="token" value="([^"]+)"', text)
    assert found
    token = found[1]
    right = {"token": token, "story": "checkout", "provider": "stripe", "repeat": "1"}
    refused: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"Origin": "http://evil.example"}, right),
        ({"Origin": "null"}, right),
        ({}, right),
        ({"Origin": f"https://127.0.0.1:{port}"}, right),
        ({**own, "Host": "evil.example"}, right),
        ({"Origin": f"http://evil.example:{port}", "Host": f"evil.example:{port}"}, right),
        (own, {**right, "token": "wrong"}),
        (own, {**right, "token": ""}),
    ]
    before = running.log.read_text().count('"send checkout"')
    for headers, fields in refused:
        answer = pool.request(
            "POST", f"http://127.0.0.1:{port}/send", fields=fields, headers=headers, redirect=False
        )
        assert answer.status == 403, headers
    rebound = pool.request("GET", f"http://127.0.0.1:{port}/", headers={"Host": f"evil.example:{port}"})
    assert rebound.status == 403
    assert running.log.read_text().count('"send checkout"') == before
    context = browser.new_context()
    evil = context.new_page()
    form = "".join(f'<input name="{name}" value="{value}">' for name, value in right.items())
    evil.set_content(
        f'<form method="post" action="http://127.0.0.1:{port}/send">{form}<button>x</button></form>'
    )
    with evil.expect_response(f"http://127.0.0.1:{port}/send") as answered:
        evil.get_by_role("button").click()
    assert answered.value.status == 403
    context.close()
    fields = {**right, "broken": "on"}
    good = pool.request("POST", f"http://127.0.0.1:{port}/send", fields=fields, headers=own, redirect=False)
    assert good.status == 302
    pool.clear()


# ── looks ───────────────────────────────────────────────────────────────────────────────────────────


def pages(running: Running, stage: Stage) -> dict[str, str]:
    """Every page with something on it."""
    subject = sent(running, "stripe", "--story", "dispute-lost", "--repeat", "2", "--shuffle")
    [*_, event] = running_events(running, subject)
    story = ("--story", "renewal-fails-then-recovers", "--shuffle", "--amount", "1900")
    failing = sent(running, "stripe", *story)
    paused = sent(running, "paypal", "--story", "pause", "--shuffle", "--amount", "4900")
    running_events(running, failing)
    running_events(running, paused)
    ledger, now = stage.ledger(), time.time_ns() // 1_000_000
    ledger.parking.park(subject, "evt_parked", "a message that nobody can read", 5, now - 3_600_000)
    task = Task(id=f"{subject}/payment.succeeded", type="payment.succeeded", at=to_iso(now))
    for target, parked_at in (("shop", None), ("books", now)):
        waits = Undelivered(
            subject=subject, target=target, reason="answered 503", attempts=2, parked_at=parked_at
        )
        ledger.undelivered.write(
            replace(waits, tasks=()), replace(waits, tasks=(task,), since=now, due_at=now + 60_000), now
        )
    paid_out(ledger, now // 1000)
    month = to_iso(now)[:7]
    return {
        "overview": "/",
        "month": "/?range=month",
        "payments": "/payments",
        "payment": f"/payments/{subject}",
        "subscriptions": "/subscriptions",
        "subscription": f"/subscriptions/{failing}",
        "paused": f"/subscriptions/{paused}",
        "event": f"/event/{event['id']}/of/{subject}",
        "payouts": "/payouts",
        "payout": "/payouts/stripe:po_1",
        "months": "/months",
        "sheet": f"/months/{month}?tz=Europe/Berlin",
        "lines": f"/months/{month}/lines?provider=stripe&currency=EUR&is_test=1&column=captured",
        "parked": "/parked",
        "redrive": f"/redrive/evt_parked/of/{subject}",
        "redrive-all": "/redrive",
        "waiting": "/waiting",
        "redeliver": f"/redeliver/shop/of/{subject}",
        "replay": f"/replay/{subject}",
        "send": "/send",
        "nothing": "/payments/stripe:pi_nothing",
    }


def paid_out(ledger: Ledger, now: int) -> None:
    """A payout, with what it is made of."""
    bank, simulator = StripeBank(), StripeSimulator(1, start=now - 3 * 86_400)
    simulator.succeed()
    bank.add(simulator)
    bank.pay_out(now)
    about = bank.events[1]["data"]["object"]
    [charge, _] = bank.transactions
    about[LISTED] = [["charge", 1, charge["amount"], charge["fee"], charge["net"]]]
    ledger.made_of.put("stripe:po_1", [part(charge, "stripe:po_1")])
    for each in (*simulator.events, *bank.events):
        consumer(ledger, MemoryInbox()).record(message_of(as_bytes(each)), NOW + 60_000)


def running_events(running: Running, subject: str) -> list[dict[str, str]]:
    """A subject's events, once they do not grow any more."""
    before = -1
    while True:
        found = running.daybook("show", subject, "--json")
        events: list[dict[str, str]] = json.loads(found.stdout)["events"] if found.returncode == 0 else []
        if events and len(events) == before:
            return events
        before = len(events)
        time.sleep(1)


def test_every_page_is_usable_and_looked_at(browser: Browser, running: Running, stage: Stage) -> None:
    """axe finds nothing serious, light, dark and at 400 px; nothing is wider than the screen."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    address = f"http://127.0.0.1:{running.ports['CONSOLE_PORT']}"
    shown = pages(running, stage)
    for look, (viewport, scheme) in LOOKS.items():
        context = browser.new_context(
            base_url=address, viewport=viewport, color_scheme="dark" if scheme == "dark" else "light"
        )
        page = context.new_page()
        for name, path in shown.items():
            page.goto(path)
            page.wait_for_load_state("load" if name == "overview" else "networkidle")
            found = Axe().run(page).response["violations"]
            serious = [(v["id"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in SERIOUS]
            assert serious == [], (look, name)
            wide = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wide <= 0, (look, name)
            page.screenshot(path=SHOTS / f"{name}-{look}.png", full_page=True)
        context.close()
    assert len(list(SHOTS.glob("*.png"))) >= len(shown) * len(LOOKS)


def test_the_keyboard_leads_through_a_page(page: Page) -> None:
    """The first stop skips to the content; then the pages, in order; what has the focus is seen."""
    page.goto("/payments")
    stops = []
    for _ in range(9):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.textContent.trim()"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
    assert stops == [
        "Skip to content",
        "Overview",
        "Payments",
        "Subscriptions",
        "Payouts",
        "Months",
        "Waiting",
        "Parked",
        "Send",
    ]


def test_screenshots_are_small() -> None:
    """What the documentation shows weighs little."""
    sizes = {shot.name: shot.stat().st_size for shot in (ROOT / "docs" / "console").glob("*.png")}
    assert sorted(sizes) == ["overview-light.png", "payment-dark.png"]
    assert max(sizes.values()) < 120_000

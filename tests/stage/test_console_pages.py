"""The console's pages without a browser: what they cost, what they cover, what they refuse."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import escape, unescape
from typing import Any

import pytest
from botocore.hooks import HierarchicalEmitter
from flask.testing import FlaskClient

from chalicelib.errors import InvalidParameter
from chalicelib.inbox import Message
from chalicelib.ledger import Ledger
from chalicelib.money import display
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Handlers, Task
from chalicelib.subscriptions import Terms
from chalicelib.times import DAY
from chalicelib.undelivered import Undelivered
from ops.console import figures, masking, search
from ops.console.app import create_app
from ops.console.overview import overview
from ops.console.recurring import recurring, revenue
from ops.console.session import Console
from ops.stage import Stage
from ops.stories import tell
from tests.fakes import NOW, Clock, MemoryInbox, as_bytes, consumer, message_of, telemetry

PORT = 8001
OWN = {"Host": f"127.0.0.1:{PORT}", "Origin": f"http://127.0.0.1:{PORT}"}


def console(stage: Stage, lines: list[str], **more: Any) -> Console:
    return Console(
        stage=stage,
        consumer=consumer(stage.ledger(), MemoryInbox()),
        telemetry=telemetry(lines, metrics=False),
        clock=Clock(),
        who=lambda: "tester",
        port=PORT,
        **{"may_write": True, **more},
    )


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def client(stage: Stage, lines: list[str]) -> Iterator[FlaskClient]:
    with create_app(console(stage, lines)).test_client() as made:
        yield made


def get(client: FlaskClient, path: str, host: str = OWN["Host"]) -> tuple[int, str]:
    answer = client.get(path, headers={"Host": host})
    return answer.status_code, answer.get_data(as_text=True)


def record(ledger: Ledger, seed: int, start: int = NOW, **more: Any) -> str:
    amount, currency = more.pop("amount", 5000), more.pop("currency", "EUR")
    subject, events = tell(
        "stripe", random.Random(seed), start, amount, currency, type_="payment_intent.succeeded"
    )
    for event in events:
        body = as_bytes(event)
        made = PROVIDERS["stripe"].event(body, start)
        message = Message(
            provider="stripe", event_id=made.id, subject=made.subject, received_at=start, body=body
        )
        consumer(ledger, MemoryInbox()).record(message, NOW + 60_000)
    return subject


# ── what a page costs ───────────────────────────────────────────────────────────────────────────────


def test_the_first_page_of_payments_costs_the_same_however_many_there_are(stage: Stage) -> None:
    """Counted in calls of AWS: the calendar, and a day at a time; three of them at sixty payments or six."""
    aws, calls = stage.aws(), list[str]()

    def counted_call(service: str, operation: str, /, **request: Any) -> dict[str, Any]:
        calls.append(operation)
        return aws(service, operation, **request)

    ledger = Ledger(counted_call, stage.names.table)
    counted = []
    for count in (30, 60):
        for n in range(count):
            record(stage.ledger(), 1000 * count + n)
        calls.clear()
        assert len(search.page(ledger, {}).rows) == search.ROWS
        counted.append(len(calls))
        assert "Scan" not in calls
    assert counted[0] == counted[1] <= 3


def test_a_filter_that_finds_little_looks_at_so_many_and_asks(stage: Stage) -> None:
    """It stops, says how many it looked through, and goes on where it stopped."""
    for n in range(140):
        record(stage.ledger(), n, NOW - n * 1000, amount=100 + n)
    found = search.page(stage.ledger(), {"least": "2.39"})
    assert [each["amount"] for each in found.rows] == [239]
    assert (found.looked, found.cursor) == (140, None)
    few = search.page(stage.ledger(), {"currency": "USD"})
    assert (few.rows, few.cut_short) == ([], False)
    seen: list[str] = []
    given: dict[str, str] = {}
    while True:
        page = search.page(stage.ledger(), given)
        seen += [each["id"] for each in page.rows]
        if page.cursor is None:
            break
        given = {"cursor": page.cursor}
    assert len(seen) == len(set(seen)) == 140


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"least": "x"}, "the amount x is no number"),
        ({"most": "NaN"}, "the amount NaN is no number"),
        ({"since": "tomorrow"}, "since"),
        ({"until": "2026-02-30"}, "until"),
        ({"cursor": "x"}, "cursor"),
    ],
)
def test_a_filter_that_is_wrong_says_so(
    stage: Stage, client: FlaskClient, wrong: dict[str, str], said: str
) -> None:
    """A clear answer on the page."""
    with pytest.raises(InvalidParameter):
        search.page(stage.ledger(), wrong)
    status, text = get(client, "/payments?" + "&".join(f"{k}={v}" for k, v in wrong.items()))
    assert (status, said in text) == (400, True)


@pytest.mark.parametrize(
    ("language", "typed"),
    [("de-DE", "1.234,56"), ("de-DE", "1234.56"), ("en", "1,234.56"), ("en", "1234.56")],
)
def test_an_amount_is_typed_as_it_is_shown(
    stage: Stage, client: FlaskClient, language: str, typed: str
) -> None:
    """Or as programs write it."""
    records = [record(stage.ledger(), n, amount=amount) for n, amount in enumerate((123_455, 123_456))]
    headers = {"Host": OWN["Host"], "Accept-Language": language}
    page = client.get(f"/payments?least={typed}", headers=headers).get_data(as_text=True)
    assert [f"/payments/{each}" in page for each in records] == [False, True]


def test_a_day_ends_with_its_last_payment(stage: Stage) -> None:
    """Who asks for one day gets that day's."""
    subject = record(stage.ledger(), 1)
    day = datetime.fromtimestamp(NOW / 1000, UTC).date()
    for until, found in ((day, [subject]), (day - timedelta(days=1), [])):
        given = {"since": str(until), "until": str(until)}
        assert [each["id"] for each in search.page(stage.ledger(), given).rows] == found


def test_the_overview_costs_a_fixed_few_calls(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the range and the traffic."""
    calls: list[str] = []
    emit = HierarchicalEmitter.emit_until_response

    def counting(self: Any, name: str, **more: Any) -> Any:
        if name.startswith("before-call."):
            calls.append(name)
        return emit(self, name, **more)

    monkeypatch.setattr(HierarchicalEmitter, "emit_until_response", counting)
    now = datetime.fromtimestamp(NOW / 1000, UTC)
    for range_ in ("hour", "day", "month"):
        calls.clear()
        found = overview(stage, range_, now, Terms(), [])
        assert (found.received, found.undelivered, found.parked, found.success) == (0, 0, "0", None)
        assert len(calls) <= 8, calls


def test_the_overview_shows_the_alarms_that_are_on(stage: Stage, client: FlaskClient) -> None:
    """With what each means, and where it says what to do."""
    cloudwatch = stage.client("cloudwatch")
    rule: Any = {
        "Namespace": "Daybook",
        "MetricName": "parked",
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 1,
        "Period": 60,
        "Statistic": "Sum",
        "Threshold": 0,
    }
    for name in ("parked", "backlog"):
        named = f"daybook-{name}-{stage.name}"
        cloudwatch.put_metric_alarm(AlarmName=named, AlarmDescription="events are set aside", **rule)
    cloudwatch.set_alarm_state(AlarmName=f"daybook-parked-{stage.name}", StateValue="ALARM", StateReason="x")
    page = get(client, "/")[1]
    assert f"<strong>daybook-parked-{stage.name}</strong>: events are set aside" in page
    assert "daybook-backlog" not in page


# ── subscriptions ───────────────────────────────────────────────────────────────────────────────────


def told(ledger: Ledger, provider: str, story: str, seed: int, amount: int = 1900) -> str:
    subject, events = tell(provider, random.Random(seed), NOW, amount, "EUR", story=story)
    for event in events:
        consumer(ledger, MemoryInbox()).record(message_of(as_bytes(event), provider), NOW + 60_000)
    return subject


def test_a_subscriptions_page_says_why_there_is_access(stage: Stage, client: FlaskClient) -> None:
    """In words; and it leads to the last payment, which leads back."""
    ledger = stage.ledger()
    subject = told(ledger, "stripe", "renewal-fails-then-recovers", 1)
    code, page = get(client, f"/subscriptions/{subject}")
    assert code == 200
    assert "<strong>Access</strong>: paid until 20" in page
    assert "subscription.recovered" in page
    assert "access.granted" in page
    payment = re.search(r'href="/payments/(stripe:pi_[^"]+)"', page)
    assert payment is not None
    assert f'href="/subscriptions/{subject}"' in get(client, f"/payments/{payment[1]}")[1]
    lost = told(ledger, "stripe", "disputed-renewal", 2)
    page = get(client, f"/subscriptions/{lost}")[1]
    assert "<strong>No access</strong>: its last payment was given back" in page
    assert get(client, "/subscriptions/stripe:sub_nothing")[0] == 404
    assert get(client, "/subscriptions/stripe:pi_1")[0] == 404


def test_subscriptions_are_listed_and_found(stage: Stage, client: FlaskClient) -> None:
    """By status, by id, by the user's own id, and by customer."""
    ledger = stage.ledger()
    paused, active = told(ledger, "paypal", "pause", 1), told(ledger, "stripe", "upgrade", 2)
    page = get(client, "/subscriptions")[1]
    assert page.index(paused.partition(":")[2]) > 0 < page.index(active.partition(":")[2])
    assert active.partition(":")[2] not in get(client, "/subscriptions?status=paused")[1]
    assert "No subscription here matches" in get(client, "/subscriptions?status=ended")[1]
    answer = client.get(f"/find?id={active}", headers=OWN)
    assert answer.headers["Location"].endswith(f"/subscriptions/{active}")
    reference = f"user-{paused[-6:].lower()}"
    page = get(client, f"/find?id={reference}")[1]  # its sale is of that user too
    assert f'href="/subscriptions/{paused}"' in page
    assert "PAYMENT" not in page
    status, page = get(client, "/find?id=nobody")
    assert (status, "<h1>Nothing found</h1>" in page, "<h1>404" in page) == (404, True, False)
    assert get(client, "/subscriptions?since=soon")[0] == 400
    day = datetime.fromtimestamp(NOW / 1000, UTC).date()
    assert f'/subscriptions/{active}"' in get(client, f"/subscriptions?until={day}")[1]
    assert "No subscription here" in get(client, f"/subscriptions?until={day - timedelta(days=400)}")[1]
    german = {"Host": OWN["Host"], "Accept-Language": "de"}
    assert ",00 EUR every month" in client.get("/subscriptions", headers=german).get_data(as_text=True)


def test_what_subscriptions_come_to(stage: Stage) -> None:
    """By what they are to pay in a month; a year's by the twelfth, tiers and pauses not at all."""
    ledger = stage.ledger()
    assert recurring(ledger, NOW, Terms()).looked == 0
    for seed, story in enumerate(("upgrade", "cancel-at-end", "pause", "disputed-renewal")):
        told(ledger, "stripe", story, seed)
    told(ledger, "paypal", "cancel-at-end", 7)
    found = recurring(ledger, NOW, Terms())
    assert (found.active, found.past_due, found.ended) == (3, 0, 1)
    assert found.revenue == {"EUR": 9500}  # 57.00, 19.00 and 19.00
    assert (found.looked, found.is_whole) == (5, True)


@pytest.mark.parametrize(
    ("interval", "monthly"),
    [
        ("1 month", "120.00 EUR"),
        ("1 year", "10.00 EUR"),
        ("3 month", "40.00 EUR"),
        ("2 week", "260.00 EUR"),
        ("1 day", "3650.00 EUR"),
        (None, None),
        ("1 fortnight", None),
    ],
)
def test_each_interval_has_its_months(interval: str | None, monthly: str | None) -> None:
    """Two at 60.00 each."""
    item = {"interval": interval, "amount": 6000, "quantity": 2, "currency": "EUR"}
    sums = revenue([{"status": "active", "items": [item]}, {"status": "paused", "items": [item]}])
    shown = {currency: display(round(sum_), currency) for currency, sum_ in sums.items()}
    assert shown == ({"EUR": monthly} if monthly else {})


# ── what is covered ─────────────────────────────────────────────────────────────────────────────────

PERSON = {
    "billing_details": {
        "name": "Jenny Rosen",
        "email": "jenny@example.com",
        "phone": "+1 555",
        "address": {"line1": "1 Main St", "city": "Oslo", "postal_code": "0150", "country": "NO"},
    },
    "card": {
        "last4": "4242",
        "exp_month": 12,
        "exp_year": 2030,
        "fingerprint": "Xt5EWLLDS7FJjR1c",
        "brand": "visa",
    },
    "payer": {
        "payer_id": "8PT597110X687",
        "name": {"given_name": "Jenny"},
        "email_address": "jenny@example.com",
    },
    "shipping": {"tracking_number": "AB 12"},
    "metadata": {"note": "call Jenny", "order": "secret words", "id": "jenny77", "reason": "Jenny asked"},
    "individual": {"dob": {"day": 1, "month": 2, "year": 1979}},
    "description": "for Jenny",
    "receipt_email": "jenny@example.com",
}


def test_who_somebody_is_is_covered_and_what_happened_is_not() -> None:
    """By a list of what may be shown: a field nobody thought of is covered."""
    about = {
        "id": "pi_3PxYz12345678",
        "object": "payment_intent",
        "amount": 5000,
        "currency": "eur",
        "status": "succeeded",
    }
    body = as_bytes(
        {
            "id": "evt_12345678",
            "type": "x.y",
            "created": 1,
            "data": {
                "object": {
                    **about,
                    **PERSON,
                    "new": "Jenny",
                    "payer": {"name": {"surname": "JENNYROSEN123"}},
                    "custom_fields": [{"text": {"value": "Jenny, 1 Main St"}}],
                    "metadata": {"iban": "NL91ABNA0417164300", "user": "jenny_rosenberg", "id": "Jenny"},
                    "pan": "4242424242424242",
                    "amounts": {"value": "5000", "total": "50.00", "currency": "EUR"},
                }
            },
        }
    )
    text = masking.masked(body)
    for mark in (
        "Jenny",
        "jenny",
        "JENNY",
        "ABNA",
        "555",
        "Main",
        "Oslo",
        "0150",
        "4242",
        "2030",
        "Xt5E",
        "secret",
        "AB 12",
        "1979",
    ):
        assert mark not in text, mark
    shown = json.loads(text)["data"]["object"]
    assert {name: shown[name] for name in about} == about
    assert shown["card"]["brand"] == "visa"
    assert shown["amounts"] == {"value": "5000", "total": "50.00", "currency": "EUR"}
    assert masking.masked(b"no json") == "••• (7 bytes that are no JSON)"


KNOWN = ["address", "amount", "coordinates", "customer", "details", "dispute", "metadata", "method"]
KNOWN += ["phone", "promo", "reason", "shipping", "status", "value"]


@pytest.mark.parametrize(
    "value",
    [
        {"phone": 15551234567},
        {"coordinates": [59.91, 10.75]},
        {"new": 4242424242424242},
        {"new_at": "Jenny Rosen"},
        {"reason": "Jenny Rosen asked"},
        {"id": "jenny@example.com"},
        {"id": "jenny_rosen1979"},
        {"id": "NO9386011117947"},
        {"customer": "BE68539007547034"},
        {"user": "jenny_rosenberg"},
        {"dispute_note": "jenny"},
        {"promo_code": "JENNY10"},
        {"customer_details": {"tax_ids": [{"type": "br_cpf", "value": "12345678909"}]}},
        {"value": "15551234567"},
        {"status": "4111111111111111"},
        {"method": "JohnDoe"},
        {"reason": "jane.roe"},
        {"Jenny Rosen": 1},
        {"jenny@example.com": {"id": "pi_3PxYz12345678"}},
        {"metadata": {"jenny": True}},
        {"shipping_address": {"type": "1-Main-St"}},
        {"a": {"b": [{"c": {"d": [{"amount": "one million"}]}}]}},
    ],
    ids=str,
)
def test_what_is_not_known_to_be_harmless_is_covered(value: dict[str, Any]) -> None:
    """Numbers, names of fields, words that look like ids; wherever it is."""
    for body in (value, {"data": {"object": value}}, [[value]]):
        text = masking.masked(json.dumps(body).encode())
        for word in re.findall(r"[a-z]{5,}|\d{3,}|\d+\.\d+", json.dumps(list(value.items())).lower()):
            if word not in KNOWN:
                assert word not in text.lower().replace("fields", ""), text


def test_no_body_is_too_odd_for_a_page(stage: Stage, client: FlaskClient) -> None:
    """Half of a surrogate pair, and more levels than Python likes to go down."""
    deep = b'{"a":' * 190 + b"1" + b"}" * 190
    for n, about in enumerate((b'"\\ud800"', deep, b'{"id": "\\udfff"}')):
        body = b'{"id": "evt_%d", "type": "x.y", "data": {"object": %s}}' % (n, about)
        event = PROVIDERS["stripe"].event(body, NOW)
        consumer(stage.ledger(), MemoryInbox()).record(Message.of(event, body), NOW + 60_000)
        for whole in ("", "?whole=yes"):
            assert get(client, f"/event/evt_{n}/of/stripe:evt_{n}{whole}")[0] == 200
    deeper = b'{"a":' * 20_000 + b"1" + b"}" * 20_000  # recorded before there was a limit
    assert masking.masked(deeper) == "••• (120001 bytes that are no JSON)"
    assert masking.plain(deeper) == deeper.decode()


@pytest.mark.parametrize("odd", ["a/b", "..", "a//b", "~2F", "50%", "a?b#c", "a/../b", "."])
def test_an_id_may_be_anything_printable(stage: Stage, client: FlaskClient, odd: str) -> None:
    """Its pages open by their own links, and what is parked under it can be redriven."""
    subject = f"stripe:{odd}"
    stage.ledger().parking.park(subject, odd, "x", 5, NOW)
    body = as_bytes({"id": odd, "type": "x.y", "data": {"object": {"id": odd}}})
    event = PROVIDERS["stripe"].event(body, NOW)
    consumer(stage.ledger(), MemoryInbox()).record(Message.of(event, body), NOW + 60_000)
    _, text = get(client, "/parked")
    _, page = get(client, unescape(links(text, "/payments/stripe")[0]))
    assert f'<h1 class="id">{escape(subject)}' in page
    for link in (*links(text, "/redrive/"), *links(page, "/event/")):
        status, shown = get(client, unescape(link))
        assert (status, escape(odd) in shown) == (200, True)


def links(page: str, start: str) -> list[str]:
    found = [each for each in re.findall(r'(?:href|action)="([^"]+)"', page) if each.startswith(start)]
    assert found
    return found


# ── who may look ────────────────────────────────────────────────────────────────────────────────────


def test_another_page_cannot_send_the_browser_here(
    stage: Stage, client: FlaskClient, lines: list[str]
) -> None:
    """Nothing is shown, and nothing is written into the log in this person's name."""
    subject = record(stage.ledger(), 1)
    [event] = stage.ledger().events(subject)
    path = f"/event/{event.id}/of/{subject}?whole=yes"
    for site in ("cross-site", "same-site"):
        answer = client.get(path, headers={"Host": OWN["Host"], "Sec-Fetch-Site": site})
        assert answer.status_code == 403
    assert lines == []
    assert client.get(path, headers={"Host": OWN["Host"], "Sec-Fetch-Site": "same-origin"}).status_code == 200
    assert len(lines) == 1


def test_only_who_was_given_the_address_gets_in(stage: Stage) -> None:
    """Another user of this machine can reach the port: each address lets one browser in.

    To pages that only it knows: a link to another port of this machine would tell a cookie.
    """
    said: list[str] = []
    made = console(stage, [], say=said.append)
    app = create_app(made)
    subject = record(stage.ledger(), 1)
    first = made.address.removeprefix(f"http://127.0.0.1:{PORT}")
    browser, stranger = app.test_client(), app.test_client()
    for path in ("/", "/payments", "/login?key=x", "/login", "/x/payments", f"/{made.place[:-1]}/payments"):
        status, text = get(stranger, path)
        assert status in (401, 403)
        assert made.token not in text
    let_in = browser.get(first, headers={"Host": OWN["Host"]})
    assert (let_in.status_code, "Set-Cookie" in let_in.headers) == (302, False)
    place = let_in.headers["Location"].rstrip("/")
    status, text = get(browser, f"{place}/payments")
    assert status == 200
    assert all(each.startswith((f"{place}/", "#")) for each in re.findall(r'href="([^"]+)"', text))
    assert subject in get(browser, links(text, f"{place}/payments/")[0])[1]
    assert get(stranger, first)[0] == 403
    [line] = said
    assert get(stranger, line.partition(f":{PORT}")[2])[0] == 302
    with stranger.get("/static/icon.svg", headers={"Host": OWN["Host"]}) as answer:
        assert answer.status_code == 200


# ── who may write ───────────────────────────────────────────────────────────────────────────────────


def test_a_closed_stage_is_read_only(stage: Stage, lines: list[str]) -> None:
    """Its buttons are disabled, and what they would send is refused all the same."""
    made = console(stage, lines, may_write=False)
    stage.ledger().parking.park("stripe:pi_1", "evt_1", "x", 5, NOW)
    with create_app(made).test_client() as client:
        _, text = get(client, "/redrive/evt_1/of/stripe:pi_1")
        assert "disabled" in text
        assert "--allow-writes" in text
        path = "/redrive/evt_1/of/stripe:pi_1"
        answer = client.post(path, data={"token": made.token}, headers=OWN)
        assert answer.status_code == 403
    assert len(list(stage.ledger().parking.parked())) == 1
    assert lines == []


def test_what_is_written_is_logged_with_who_did_it(stage: Stage, lines: list[str]) -> None:
    """A redrive, with its event."""
    made = console(stage, lines)
    stage.ledger().parking.park("stripe:pi_1", "evt_1", "x", 5, NOW)
    with create_app(made).test_client() as client:
        answer = client.post("/redrive/evt_1/of/stripe:pi_1", data={"token": made.token}, headers=OWN)
        assert answer.status_code == 302
        assert (
            client.post("/redrive/evt_1/of/stripe:pi_1", data={"token": made.token}, headers=OWN).status_code
            == 404
        )
    line = json.loads(lines[0])
    assert (line["who"], line["action"], line["event_id"]) == ("tester", "redrive", "evt_1")


def test_every_answer_is_hardened_and_holds_no_exception(client: FlaskClient) -> None:
    """No page of another origin, no inline script; a name that is not ours is refused."""
    for path in ("/", "/payments", "/parked", "/nowhere", "/payments/stripe:x", "/send", "/?range=year"):
        answer = client.get(path, headers={"Host": OWN["Host"]})
        assert "script-src 'self';" in answer.headers["Content-Security-Policy"]
        text = answer.get_data(as_text=True)
        assert "Traceback" not in text
        assert not re.search(r"<script(?! src=)", text)
        assert not re.search(r"(src|href)=\"https?://(?!dashboard|www)", text)
    assert get(client, "/", host="daybook.example")[0] == 403
    assert get(client, "/send")[0] == 404  # stage local only


def test_what_holds_html_is_shown_as_text(stage: Stage, client: FlaskClient) -> None:
    """An id or a type may be any printable text."""
    body = as_bytes(
        {"id": "<b>evt</b>", "type": "<script>x</script>", "data": {"object": {"id": "<i>pi</i>"}}}
    )
    event = PROVIDERS["stripe"].event(body, NOW)
    message = Message(provider="stripe", event_id=event.id, subject=event.subject, received_at=NOW, body=body)
    consumer(stage.ledger(), MemoryInbox()).record(message, NOW)
    status, text = get(client, "/payments/stripe:<i>pi</i>")
    assert status == 200
    for raw in ("<b>evt", "<script>x", "<i>pi"):
        assert raw not in text


def test_parked_events_are_paged(stage: Stage, client: FlaskClient) -> None:
    """The newest first, each once."""
    for n in range(30):
        stage.ledger().parking.park(f"stripe:pi_{n}", f"evt_{n:02}", "x", 5, NOW + n * DAY)
    _, first = get(client, "/parked")
    below = re.search(r'href="(/parked\?below=[^"]+)"', first)
    assert below
    _, second = get(client, below[1].replace("&amp;", "&"))
    found = [re.findall(r">(evt_\d+)</td>", text) for text in (first, second)]
    assert found[0] + found[1] == [f"evt_{n:02}" for n in reversed(range(30))]


# ── what waits ──────────────────────────────────────────────────────────────────────────────────────


def parked_events(ledger: Ledger) -> str:
    """One that would change something, and one that is distrusted."""
    subject, [event] = tell("stripe", random.Random(9), NOW, 700, "EUR", type_="charge.succeeded")
    body = as_bytes(event)
    made = PROVIDERS["stripe"].event(body, NOW)
    message = Message(provider="stripe", event_id=made.id, subject=subject, received_at=NOW, body=body)
    ledger.parking.park(subject, made.id, message.encode(), 5, NOW)
    ledger.parking.note_failure(subject, "evt_forged", "tampered", 1, NOW)
    ledger.parking.park(subject, "evt_forged", message.encode(), 1, NOW)
    return subject


def test_all_that_is_parked_is_redriven_after_its_preview(stage: Stage, lines: list[str]) -> None:
    """Each line says what it would do; what is distrusted stays, and is not counted."""
    made = console(stage, lines)
    subject = parked_events(stage.ledger())
    waits = undelivered(stage, subject, parked_at=NOW)
    with create_app(made).test_client() as client:
        assert "Redrive all" in get(client, "/parked")[1]
        _, preview = get(client, "/redrive")
        assert "captured: 0 becomes 700" in preview
        assert "is sent payment.succeeded" in preview
        assert "stays parked: it is tampered" in preview
        assert "Redrive all 2</button>" in preview
        answer = client.post("/redrive", data={"token": made.token}, headers=OWN)
        assert answer.status_code == 302
        assert "2 are sent again" in get(client, answer.headers["Location"])[1]
    assert [each.event_id for each in stage.ledger().parking.parked()] == ["evt_forged"]
    assert stage.ledger().undelivered.read(waits.waiter).parked_at is None
    assert json.loads(lines[0])["action"] == "redrive all"


def test_what_is_of_no_payment_is_no_link(stage: Stage, client: FlaskClient) -> None:
    """A message of the queue that nobody could read has no page."""
    stage.ledger().parking.park("queue:g", "message", "x", 5, NOW)
    _, text = get(client, "/parked")
    assert "queue:g" in text
    assert "/payments/queue:g" not in text


def undelivered(stage: Stage, subject: str, **more: Any) -> Undelivered:
    """A milestone that waits for a target."""
    task = Task(id=f"{subject}/payment.succeeded", type="payment.succeeded")
    none = Undelivered(subject=subject, target="shop", reason="answered 503", attempts=3, since=NOW, **more)
    return stage.ledger().undelivered.write(none, replace(none, tasks=(task,)), NOW)


def test_what_waits_for_a_target_is_shown_and_sent(stage: Stage, lines: list[str]) -> None:
    """On its own page and its payment's, with why; after a question it is due at once."""
    made = console(stage, lines)
    subject = record(stage.ledger(), 1)
    waits = undelivered(stage, subject, due_at=NOW + 60_000)
    with create_app(made).test_client() as client:
        for path in ("/waiting", f"/payments/{subject}"):
            _, text = get(client, path)
            assert "answered 503" in text
            assert f"/redeliver/shop/of/{subject}" in text
        path = f"/redeliver/shop/of/{subject}"
        assert "payment.succeeded" in get(client, path)[1]
        assert client.post(path, data={"token": made.token}, headers=OWN).status_code == 302
        assert get(client, "/redeliver/other/of/stripe:pi_1")[0] == 404
    found = stage.ledger().undelivered.read(waits.waiter)
    assert (found.due_at, found.attempts) == (NOW, 0)


def test_what_waits_for_its_reference_is_shown(stage: Stage, lines: list[str]) -> None:
    """The payment, the handlers, and for how long."""
    made = console(stage, lines)
    handlers = Handlers()

    @handlers.on("payment.succeeded", needs="reference")
    def ship(payment: Any, milestone: Any) -> None:
        """Never called."""

    made.consumer = replace(made.consumer, handlers=handlers)
    subject, [event] = tell("stripe", random.Random(5), NOW, 700, "EUR", type_="charge.succeeded")
    event["data"]["object"].pop("metadata", None)
    message = message_of(as_bytes(event))
    made.consumer.record(message, NOW + 60_000)
    with create_app(made).test_client() as client:
        _, text = get(client, "/waiting")
    assert subject in text
    assert "ship" in text


@pytest.mark.parametrize(
    ("languages", "shown"),
    [
        ("en-US,en;q=0.9", "1,234,567.89 EUR"),
        ("de-DE,de;q=0.9,en;q=0.8", "1.234.567,89 EUR"),
        ("xx,pt-BR;q=0.5", "1.234.567,89 EUR"),
        ("not a language;;;", "1,234,567.89 EUR"),
        ("", "1,234,567.89 EUR"),
    ],
)
def test_amounts_are_written_as_the_reader_does(
    stage: Stage, client: FlaskClient, languages: str, shown: str
) -> None:
    """By the first language of the browser's that is known."""
    record(stage.ledger(), 1, amount=123_456_789)
    answer = client.get("/payments", headers={"Host": OWN["Host"], "Accept-Language": languages})
    assert shown in answer.get_data(as_text=True)


def test_amounts_have_their_currencys_decimals() -> None:
    """None of yen, three of dinars; of what is no currency the minor unit."""
    assert figures.amount(-1_234_567, "JPY") == "-1,234,567 JPY"
    assert figures.amount(1_234_567, "KWD") == "1,234.567 KWD"
    assert figures.amount(1_234_567, "???") == "1,234,567 ???"
    assert figures.amount(None, "EUR") == ""

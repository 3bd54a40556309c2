"""What else providers are asked: whether they show a payment as we have it, and how our endpoints are."""

import random
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.asking import AT_MOST, Asking
from chalicelib.errors import NotFound, Unavailable
from chalicelib.inbox import Message
from chalicelib.payments import Facts, fold, project
from chalicelib.providers import PROVIDERS, paypal
from chalicelib.providers.paypal import comparison as paypals
from chalicelib.providers.paypal import endpoints as paypals_endpoints
from chalicelib.providers.paypal.client import PayPalApi
from chalicelib.providers.protocol import Connection, Notice, PostbackProvider, api_of, needs_asking
from chalicelib.providers.stripe import comparison as stripes
from chalicelib.providers.stripe import endpoints as stripes_endpoints
from chalicelib.providers.stripe.client import StripeApi
from chalicelib.several import asked
from chalicelib.times import HOUR
from ops.stories import tell
from tests.core.providers import acme
from tests.fakes import NOW, Clock, MemoryLedger, an_event, as_bytes, consumer, facts_of_event, telemetry

ADDRESSES = {"stripe": "http://127.0.0.1:1", "paypal": "http://127.0.0.1:1", "acme": ""}


def connection(**secrets: tuple[str, ...]) -> Connection:
    return Connection(secrets, ADDRESSES, Clock())


def test_an_api_is_there_where_its_credentials_are() -> None:
    """Half of PayPal's is an outage, not a reason not to ask; a provider need not have any."""
    stripe = PROVIDERS["stripe"]
    assert api_of(stripe, connection()) is None
    assert isinstance(api_of(stripe, connection(stripe_api_key=("rk_1",))), StripeApi)
    assert api_of(paypal, connection()) is None
    assert isinstance(api_of(paypal, connection(paypal_client_id=("id",))), PayPalApi)
    assert isinstance(paypal.postback(connection()), PayPalApi)
    assert isinstance(paypal, PostbackProvider)
    assert api_of(acme, connection()) is None
    assert not needs_asking(acme, an_event(provider="acme"))


def test_which_events_are_asked_about() -> None:
    """At Stripe a thin one, for its object; at PayPal whatever moves money."""
    related = {"id": "re_1", "type": "refund", "url": "/v1/refunds/re_1"}
    thin = {"id": "evt_1", "object": "v2.core.event", "type": "v1.refund.created", "related_object": related}
    snapshot = {"id": "evt_1", "object": "event", "data": {"object": {}}}
    paid = {"id": "WH-1", "event_type": "PAYMENT.CAPTURE.COMPLETED", "resource": {"id": "2GG"}}
    order = {"id": "WH-2", "event_type": "CHECKOUT.ORDER.APPROVED", "resource": {"id": "ORD"}}
    bodies = {"stripe": (thin, snapshot), "paypal": (paid, order)}
    for name, pair in bodies.items():
        provider = PROVIDERS[name]
        events = [provider.event(as_bytes(each), NOW) for each in pair]
        assert [needs_asking(provider, each) for each in events] == [True, False]


# ── the payment as the provider shows it ────────────────────────────────────────────────────────────


def told(story: str) -> tuple[Any, dict[str, dict[str, Any]]]:
    """A payment of Stripe's as recorded, and its objects as they were shown last."""
    subject, events = tell("stripe", random.Random(1), NOW, 5000, "EUR", story=story)
    read = [PROVIDERS["stripe"].event(as_bytes(each), NOW) for each in events]
    last = {each["data"]["object"]["object"]: each["data"]["object"] for each in events}
    return project(subject, fold(facts_of_event(each) for each in read)), last


def test_the_whole_record_is_held_against_stripes() -> None:
    """Status, currency, sums and customer, with refunds and disputes; a difference is named."""
    ours, shown = told("dispute-lost")

    def get(path: str, **parameters: Any) -> Any:
        if path == "/v1/disputes":
            return {"data": [shown["dispute"]]}
        if path == "/v1/refunds":
            raise NotFound("none")
        return {**shown["payment_intent"], "latest_charge": shown["charge"]}

    assert stripes.differences(ours, get, NOW) == []
    refunded, objects = told("partial-refunds")

    def get_refunded(path: str, **parameters: Any) -> Any:
        listed = {"/v1/refunds": [objects["refund"]], "/v1/disputes": []}
        return (
            {"data": listed[path]}
            if path in listed
            else {**objects["payment_intent"], "latest_charge": objects["charge"]}
        )

    assert stripes.differences(refunded, get_refunded, NOW) == []
    shown["dispute"] = {**shown["dispute"], "status": "won"}
    names = [each.name for each in stripes.differences(ours, get, NOW) or ()]
    assert names == ["status", "disputed", "net"]


def test_an_intent_without_a_charge_is_compared_by_its_status() -> None:
    """In the connected account's name, where it is one's."""
    ours = project("stripe:acct_1:pi_1", facts_of_event(an_event()) or {})
    asked: list[dict[str, Any]] = []
    shown: dict[str, Any] = {"status": "canceled"}

    def get(path: str, **parameters: Any) -> Any:
        asked.append(parameters)
        return {"object": "payment_intent", "id": "pi_1", "currency": "eur", "amount": 1, **shown}

    found = stripes.differences(ours, get, NOW) or []
    assert [(each.name, each.theirs) for each in found] == [("status", "canceled"), ("currency", "EUR")]
    shown["status"] = "requires_payment_method"  # from the start, or after a failure: it does not say
    assert [each.name for each in stripes.differences(ours, get, NOW) or ()] == ["currency"]
    shown["status"] = "canceled"
    shown.update(latest_charge={"object": "charge", "id": "ch_1", "currency": "eur", "amount": 1})
    assert [each.name for each in stripes.differences(ours, get, NOW) or ()] == ["status", "currency"]
    connected = project("stripe:acct_1:pi_1", {"payment": {"account": ["acct_1"]}})
    stripes.differences(connected, get, NOW)
    assert asked[-1]["stripe_account"] == "acct_1"
    assert stripes.differences(project("stripe:ch_1", {}), get, NOW) is None


@pytest.mark.parametrize(
    ("status", "refunded", "differing"),
    [
        ("COMPLETED", 0, []),
        ("PARTIALLY_REFUNDED", 400, []),
        ("REFUNDED", 5000, []),
        ("REVERSED", 5000, []),
        ("COMPLETED", 400, ["refunded"]),
        ("REFUNDED", 400, ["refunded"]),
        ("PENDING", 0, ["captured"]),
    ],
)
def test_a_capture_is_held_against_paypals(status: str, refunded: int, differing: list[str]) -> None:
    """It shows what was captured, and of refunds nothing, a part or all."""
    refund = {"amount": [1, refunded], "succeeded_at": 1} if refunded else {}
    facts: Facts = {"payment": {"captured": [[5000, 1]], "priced": [1, 1, 5000, "EUR"]}, "refund R": refund}
    ours = project("paypal:CAP1", facts)
    shown = {"id": "CAP1", "status": status, "amount": {"value": "50.00", "currency_code": "EUR"}}
    assert [each.name for each in paypals.differences(ours, shown)] == differing


# ── endpoints ───────────────────────────────────────────────────────────────────────────────────────

OURS = "https://x.example/dev/webhooks/"


def levels(notices: list[Notice]) -> list[str]:
    return ["broken" if each.is_broken else "remedy" if each.remedy else "well" for each in notices]


def test_stripes_endpoints() -> None:
    """None that leads here, one that is disabled, one that sends too little, one that is well."""
    url = OURS + "stripe"
    assert levels(list(stripes_endpoints.notices([{"url": "https://other.example"}]))) == ["broken"]
    endpoints: list[Any] = [
        {"url": url, "status": "disabled", "enabled_events": ["*"]},
        {"url": url, "status": "enabled", "enabled_events": ["charge.refunded"]},
        {"url": url, "status": "enabled", "enabled_events": ["*"]},
        {"url": url, "status": "enabled", "enabled_events": [*stripes_endpoints.NEEDED, "invoice.paid"]},
    ]
    found = list(stripes_endpoints.notices(endpoints))
    assert levels(found) == ["broken", "remedy", "well", "remedy"]
    assert found[-1].remedy == "add invoice_payment.paid"


def test_paypals_webhooks() -> None:
    """None that leads here, none that is ours, one that sends too little, one that is well."""
    every, few = [{"name": "*"}], [{"name": "PAYMENT.SALE.COMPLETED"}]
    webhooks: list[Any] = [
        {"url": OURS + "paypal", "id": "A", "event_types": few},
        {"url": OURS + "paypal", "id": "B", "event_types": every},
    ]
    assert levels(list(paypals_endpoints.notices([], ("A",)))) == ["broken"]
    assert levels(list(paypals_endpoints.notices(webhooks, ("C",)))) == ["broken"]
    assert levels(list(paypals_endpoints.notices(webhooks, ("A", "B")))) == ["remedy", "well"]


# ── what events leave undecided ─────────────────────────────────────────────────────────────────────


class Answers:
    """An API that shows these bodies, or raises; ``asked`` counts."""

    def __init__(self, bodies: list[dict[str, Any]], error: Exception | None = None) -> None:
        self.bodies, self.error, self.asked = bodies, error, 0

    def shown(self, ours: Any) -> list[bytes]:
        self.asked += 1
        if self.error:
            raise self.error
        return [as_bytes(each) for each in self.bodies]


class Line:
    """A queue whose messages are recorded at once by ``to``."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def put(self, text: str, group: str, once: str, trace: str = "") -> None:
        self.texts.append(text)


def undecided(hours: float) -> tuple[Any, Any]:
    """A ledger with a refund whose capture was never heard of, for so long; and its consumer."""
    ledger: Any = MemoryLedger()
    inbox: Any = None
    to = consumer(ledger, inbox)
    about = {"object": "refund", "id": "re_1", "payment_intent": "pi_1", "charge": "ch_1", "amount": 400}
    body = as_bytes(
        {"id": "evt_1", "type": "refund.created", "data": {"object": {**about, "currency": "eur"}}}
    )
    message = Message(provider="stripe", event_id="evt_1", subject="stripe:pi_1", received_at=NOW, body=body)
    to.record(message, NOW + 60_000)
    ledger.kept["stripe:pi_1"] = replace(
        ledger.kept["stripe:pi_1"], inconsistent_since=NOW - int(hours * HOUR)
    )
    return ledger, to


def asking(ledger: Any, line: Any, **apis: Any) -> Asking:
    return Asking(providers=PROVIDERS, apis=asked(apis), ledger=ledger, inbox=line, telemetry=telemetry())


def test_what_events_leave_undecided_is_asked_about() -> None:
    """The intent as Stripe shows it now settles it: what is on the queue is recorded like any event."""
    ledger, to = undecided(1.5)
    line = Line()
    intent = {
        "object": "payment_intent",
        "id": "pi_1",
        "currency": "eur",
        "amount": 900,
        "amount_received": 900,
        "status": "succeeded",
        "latest_charge": {"object": "charge", "id": "ch_1", "currency": "eur", "amount": 900, "created": 1},
    }

    class Shows(StripeApi):
        def get(self, path: str, **parameters: Any) -> Any:
            return intent if "payment_intents" in path else {"data": []}

    assert asking(ledger, line, stripe=Shows("rk_1", "", Clock())).run(NOW) == 1
    for text in line.texts:
        to.record(Message.decode(text), NOW + 60_000)
    payment = project("stripe:pi_1", ledger.payment("stripe:pi_1").facts)
    assert (payment.captured, payment.refunded, payment.consistent) == (900, 400, True)
    assert asking(ledger, line, stripe=Shows("rk_1", "", Clock())).run(NOW) == 0


@pytest.mark.parametrize(
    ("hours", "asked"), [(0.5, 0), (1.5, 1), (2.5, 0), (23.5, 0), (24.5, 1), (25.5, 0), (48.5, 1)]
)
def test_it_is_asked_after_an_hour_and_then_once_a_day(hours: float, asked: int) -> None:
    """By an hourly run: what stays undecided is not to become the provider's load."""
    ledger, _ = undecided(hours)
    api = Answers([])
    assert asking(ledger, Line(), stripe=api).run(NOW) == api.asked == asked


@pytest.mark.parametrize("error", [NotFound("unknown"), Unavailable("down")])
def test_one_that_cannot_be_asked_about_holds_up_no_other(error: Exception) -> None:
    """It is asked again another time; without an API there is nothing to do."""
    ledger, _ = undecided(1.5)
    assert asking(ledger, Line(), stripe=Answers([], error)).run(NOW) == 1
    assert asking(ledger, Line()).run(NOW) == 0


def test_a_run_asks_about_so_many_at_most() -> None:
    """And what it shows that is too large to keep is left out, with a line."""
    ledger, _ = undecided(1.5)
    ledger.kept |= {f"stripe:pi_{n}": ledger.kept["stripe:pi_1"] for n in range(2, AT_MOST + 9)}
    huge = {"id": "asked_1", "object": "event", "x": random.Random(1).randbytes(500_000).hex()}
    api = Answers([huge])
    line = Line()
    assert asking(ledger, line, stripe=api).run(NOW) == api.asked == AT_MOST
    assert line.texts == []


def test_a_capture_as_paypal_shows_it_is_an_event() -> None:
    """By its status; one that says nothing that is known is none."""
    capture = {"id": "CAP1", "amount": {"value": "5.00", "currency_code": "EUR"}}

    class Shows(PayPalApi):
        def get(self, path: str) -> dict[str, Any]:
            return {**capture, "status": status}

    api = Shows("", (), Clock())
    ours = project("paypal:CAP1", {})
    types = {}
    for status in ("COMPLETED", "PENDING", "DECLINED", "FAILED", "OTHER"):
        types[status] = [paypal.event(body, NOW).type for body in api.shown(ours)]
    assert types == {
        "COMPLETED": ["PAYMENT.CAPTURE.COMPLETED"],
        "PENDING": ["PAYMENT.CAPTURE.PENDING"],
        "DECLINED": ["PAYMENT.CAPTURE.DECLINED"],
        "FAILED": ["PAYMENT.CAPTURE.DENIED"],
        "OTHER": [],
    }


def test_an_answer_about_something_else_is_no_answer() -> None:
    """Such as a proxy's: what is asked about is left as it is, and asked about again."""
    ours = project("stripe:pi_1", {})
    with pytest.raises(Unavailable, match="something else"):
        list(stripes.bodies(ours, lambda path, **options: {"id": "pi_2", "object": "payment_intent"}, 0))

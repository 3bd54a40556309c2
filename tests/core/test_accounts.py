"""Several accounts of one provider in one stage: each with credentials of its own, none in another's way."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from chalicelib import accounts, payouts, settings, several
from chalicelib.asking import Asking
from chalicelib.breaker import CircuitBreaker
from chalicelib.budget import Budget
from chalicelib.contents import Contents
from chalicelib.credentials import FixedCredentials, parsed, refused
from chalicelib.errors import InvalidSetting, InvalidSignature, NotAllowed, NotFound, Unavailable
from chalicelib.inbox import Message
from chalicelib.payments import Payment, project
from chalicelib.providers import PROVIDERS
from chalicelib.providers.paypal.client import PayPalApi
from chalicelib.providers.protocol import Connection, Trust, api_of
from chalicelib.questions import IN_VAIN, Questions
from chalicelib.reconcile import Reconciler, last_success, read_balances, watched
from chalicelib.times import DAY, HOUR
from chalicelib.webhooks import Receiver
from ops import against
from ops.verify import drift
from tests.banks import StripeBank
from tests.fake_apis import Answer, FakePayPal, FakeStripe, Request, event_listed
from tests.fakes import (
    NOW,
    MemoryInbox,
    OneCertificate,
    as_bytes,
    paypal_leaf,
    signed,
    sqs_record,
    telemetry,
)
from tests.settling import Shop
from tests.simulators import START

Json = dict[str, Any]
OWN, US = "rk_own", "rk_us"
SECRET = {
    "stripe_webhook_secrets": ["whsec_own"],
    "stripe_api_key": OWN,
    "paypal_webhook_ids": ["WEBHOOKOWN"],
    "accounts": {
        "shop-us": {"stripe_webhook_secrets": ["whsec_us"], "stripe_api_key": US},
        "shop-uk": {
            "paypal_webhook_ids": ["WEBHOOKUK"],
            "paypal_client_id": "uk",
            "paypal_client_secret": "secret",
        },
    },
}


def intent(id_: str, created: int = START) -> Json:
    about = {"id": id_, "object": "payment_intent", "status": "succeeded", "currency": "eur"}
    return {**about, "amount": 500, "amount_received": 500, "created": created, "latest_charge": None}


def snapshot(id_: str, **more: Json | str) -> Json:
    return {**event_listed(f"evt_{id_}", START * 1000), "data": {"object": intent(id_)}, **more}


def capture(id_: str) -> Json:
    amount = {"value": "5.00", "currency_code": "EUR"}
    about = {"id": id_, "status": "COMPLETED", "amount": amount, "create_time": "2026-11-24T00:00:00Z"}
    return {
        "id": f"WH-{id_}",
        "event_type": "PAYMENT.CAPTURE.COMPLETED",
        "create_time": "2026-11-24T00:00:00Z",
        "resource": about,
    }


class Stripes(FakeStripe):
    """One address, and what each key sees there; a key that is not known is refused."""

    def __init__(self) -> None:
        super().__init__([])
        self.of: dict[str, FakeStripe] = {}
        self.asked_with: list[tuple[str, str]] = []

    def serve(self, request: Request) -> Answer:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.asked_with.append((key, request.path))
        if key not in self.of:
            return 401, {}, {"error": {"type": "authentication_error", "message": "no such key"}}
        return self.of[key].serve(request)


@pytest.fixture
def stripe() -> Iterator[Stripes]:
    with Stripes() as api, FakeStripe([]) as own, FakeStripe([]) as us:
        api.of = {OWN: own, US: us}
        yield api


def made(shop: Shop, address: str, secret: Mapping[str, Any] = SECRET) -> dict[str, Any]:
    """The APIs by account, as the app makes them."""
    secrets = parsed(secret)
    found = {}
    for key, provider, account in accounts.each_key(PROVIDERS, secrets):
        own = accounts.of_account(secrets, account)
        connection = Connection(own, dict.fromkeys(PROVIDERS, address), shop.clock)
        found[key] = api_of(PROVIDERS[provider], connection)
    return {key: api for key, api in found.items() if api}


def record(shop: Shop, *messages: Message) -> None:
    records = [sqs_record(each.encode(), each.subject, receipt=str(n)) for n, each in enumerate(messages)]
    assert shop.consumer.process(records, shop.clock.now + HOUR) == []


def message(body: Json, via: str | None, provider: str = "stripe") -> Message:
    event = PROVIDERS[provider].event(as_bytes(body), NOW)
    return Message.of(replace(event, via=via), as_bytes(body))


def payment(shop: Shop, subject: str) -> Payment:
    return project(subject, shop.ledger.payment(subject).facts)


# ── the secret ──────────────────────────────────────────────────────────────────────────────────────


def test_what_is_malformed_below_accounts_is_left_out_and_named() -> None:
    """The others go on."""
    secrets = parsed({**SECRET, "accounts": {**SECRET["accounts"], "acct_1": {}, "shop-de": "rk_1"}})  # type: ignore[dict-item]
    assert accounts.accounts(secrets)[1:] == ["shop-uk", "shop-us"]
    assert secrets[accounts.ACCOUNTS] == ("acct_1", "shop-de")
    assert accounts.of_account(secrets, "shop-us")["stripe_api_key"] == (US,)
    assert accounts.of_account(secrets, "")["stripe_api_key"] == (OWN,)
    assert accounts.together(secrets)["stripe_webhook_secrets"] == ("whsec_own", "whsec_us")
    assert parsed({**SECRET, "accounts": ["shop-us"]})[accounts.ACCOUNTS] == ("all",)
    assert ("stripe_webhook_secrets@shop-us", "whsec_us") in list(refused(secrets))


def test_stage_local_has_accounts_by_its_environment() -> None:
    """As JSON; what is none says how it goes."""
    given = json.dumps({"shop-us": {"stripe_webhook_secrets": ["whsec_us"], "stripe_api_key": US}})
    found = settings.read({"ACCOUNTS": given}).local_credentials
    assert found["stripe_api_key@shop-us"] == (US,)
    for wrong in ("shop-us", '{"acct_1": {}}', '["x"]'):
        with pytest.raises(InvalidSetting, match="ACCOUNTS must be JSON"):
            settings.read({"ACCOUNTS": wrong})


# ── the door, and the record ────────────────────────────────────────────────────────────────────────


def test_a_webhook_is_of_the_account_whose_secret_signed_it() -> None:
    """At both providers; the record says whose it is, also folded anew; who signs with none is refused."""
    shop, inbox = Shop(), MemoryInbox()
    door = Receiver(
        providers=PROVIDERS,
        credentials=FixedCredentials(parsed(SECRET)),
        trust=lambda secrets: Trust(accounts.together(secrets), OneCertificate(paypal_leaf())),
        inbox=inbox,  # type: ignore[arg-type]
        telemetry=telemetry(),
        livemode=None,
    )
    door.receive("stripe", signed("stripe", as_bytes(snapshot("pi_own")), secret="whsec_own"))
    door.receive("stripe", signed("stripe", as_bytes(snapshot("pi_us")), secret="whsec_us"))
    door.receive("stripe", signed("stripe", as_bytes(snapshot("pi_c", account="acct_1")), secret="whsec_us"))
    door.receive("paypal", signed("paypal", as_bytes(capture("CAPUK")), secret="WEBHOOKUK"))
    with pytest.raises(InvalidSignature):
        door.receive("stripe", signed("stripe", as_bytes(snapshot("pi_x")), secret="whsec_x"))
    sent = list(inbox.messages.values())
    assert [each.via for each in sent] == [None, "shop-us", "shop-us", "shop-uk"]
    record(shop, *sent)
    whose = {
        "stripe:pi_own": None,
        "stripe:pi_us": "shop-us",
        "stripe:acct_1:pi_c": "acct_1",
        "paypal:CAPUK": "shop-uk",
    }
    for subject, account in whose.items():
        assert payment(shop, subject).account == account
        assert drift(shop.ledger, subject) is None
    stored = shop.ledger.event("stripe:pi_us", "evt_pi_us")
    assert stored
    assert shop.consumer.parsed(stored).of_account == "shop-us"


def test_a_postback_is_asked_of_the_account_that_the_webhook_is_of() -> None:
    """Another would say no."""
    with FakePayPal([], webhook_id="WEBHOOKUK") as uk, FakePayPal([], webhook_id="WEBHOOKOWN") as own:
        apis = {each: PayPalApi(each.address, ("id", "secret"), lambda: NOW) for each in (own, uk)}
        asked = several.Postbacks(apis[own], {"WEBHOOKUK": apis[uk]})
        for webhook_id in ("WEBHOOKOWN", "WEBHOOKUK"):
            assert asked.confirms({"paypal-transmission-id": "T"}, b"{}", webhook_id)


# ── each asked about with its own key ───────────────────────────────────────────────────────────────


def asking(shop: Shop, apis: Mapping[str, Any]) -> Questions:
    budgets: dict[str, Budget] = {}
    return Questions(
        providers=PROVIDERS,
        api=lambda name, account: apis.get(accounts.key(name, account or "")),
        ledger=shop.ledger,
        telemetry=telemetry(shop.lines, shop.clock),
        breaker=CircuitBreaker(shop.clock),
        budget=lambda place: budgets.setdefault(place, Budget(shop.clock, IN_VAIN)),
        clock=shop.clock,
    )


def thin(id_: str) -> Json:
    return {
        "id": f"evt_{id_}",
        "object": "v2.core.event",
        "type": "v1.payment_intent.succeeded",
        "created": "2026-11-24T00:00:00Z",
        "livemode": False,
        "related_object": {"id": id_, "type": "payment_intent", "url": f"/v1/payment_intents/{id_}"},
    }


def test_an_event_is_asked_about_with_its_own_accounts_key(stripe: Stripes) -> None:
    """What has no key of its own is not asked about with another's."""
    stripe.of[OWN].objects["/v1/payment_intents/pi_own"] = intent("pi_own")
    stripe.of[US].objects["/v1/payment_intents/pi_us"] = intent("pi_us")
    shop = Shop()
    questions = asking(shop, made(shop, stripe.address))
    shop.consumer = replace(shop.consumer, complete=questions.complete)
    record(shop, message(thin("pi_own"), None), message(thin("pi_us"), "shop-us"))
    assert payment(shop, "stripe:pi_own").captured == payment(shop, "stripe:pi_us").captured == 500
    assert sorted(stripe.asked_with) == [
        (OWN, "/v1/payment_intents/pi_own"),
        (US, "/v1/payment_intents/pi_us"),
    ]
    record(shop, message(thin("pi_other"), "shop-de"))
    assert len(stripe.asked_with) == 2


def test_one_accounts_wrong_key_or_outage_is_nothing_to_the_others(stripe: Stripes) -> None:
    """Its own events wait; the others' are recorded, also while it is left alone for hanging."""
    del stripe.of[US]
    stripe.of[OWN].objects["/v1/payment_intents/pi_own"] = intent("pi_own")
    shop = Shop()
    apis = made(shop, stripe.address)
    ask = apis["stripe shop-us"].complete

    def hangs(event: Any) -> Any:
        shop.clock.now += 5_000
        return ask(event)

    class Hanging:
        complete = staticmethod(hangs)

    questions = asking(shop, {**apis, "stripe shop-us": Hanging()})
    shop.consumer = replace(shop.consumer, complete=questions.complete, partial_batches=True)
    sent = [message(thin(f"pi_us{n}"), "shop-us") for n in range(3)]
    sent.append(message(thin("pi_own"), None))
    records = [sqs_record(each.encode(), each.subject, receipt=str(n)) for n, each in enumerate(sent)]
    again = shop.consumer.process(records, shop.clock.now + HOUR)
    assert again == ["m-0", "m-1", "m-2"]
    assert payment(shop, "stripe:pi_own").captured == 500


# ── what is recorded, asked about later ─────────────────────────────────────────────────────────────


def test_of_what_is_recorded_its_account_is_asked_or_each_in_turn(stripe: Stripes) -> None:
    """A record of before accounts were named has none: whoever knows it answers, whatever the others say."""
    stripe.of[US].objects["/v1/payment_intents/pi_us"] = intent("pi_us")
    shop = Shop()
    apis = several.asked(made(shop, stripe.address))
    record(shop, message(snapshot("pi_us"), "shop-us"))
    ours = payment(shop, "stripe:pi_us")
    assert against.compare(shop.ledger, "stripe:pi_us", apis).was_asked
    assert {key for key, _ in stripe.asked_with} == {US}
    unnamed = replace(ours, account=None)
    stripe.asked_with.clear()
    assert apis["stripe"].differences(unnamed) == []
    assert {key for key, _ in stripe.asked_with} == {OWN, US}
    del stripe.of[OWN]  # its key is wrong
    assert apis["stripe"].shown(unnamed)
    with pytest.raises(Unavailable):  # it may be the one that cannot be asked
        apis["stripe"].shown(replace(unnamed, id="stripe:pi_none"))
    stripe.of = {OWN: stripe.of[US], US: stripe.of[US]}
    with pytest.raises(NotFound):
        apis["stripe"].subscription("stripe:sub_none", None, set())
    assert not apis["stripe"].can_ask("shop-de")  # which has no key
    with pytest.raises(NotAllowed):
        apis["stripe"].shown(replace(ours, account="shop-de"))


def test_hourly_asking_uses_the_accounts_own_key(stripe: Stripes) -> None:
    """Of a payment that stays inconsistent."""
    shop = Shop()
    refund = {"id": "re_1", "object": "refund", "amount": 100, "currency": "eur", "status": "succeeded"}
    told = {**event_listed("evt_re", START * 1000), "type": "refund.created"}
    told["data"] = {"object": {**refund, "payment_intent": "pi_us", "charge": "ch_1", "created": START}}
    record(shop, message(told, "shop-us"))
    stripe.of[US].objects["/v1/payment_intents/pi_us"] = intent("pi_us")
    inbox: Any = shop.queue
    hourly = Asking(
        providers=PROVIDERS,
        apis=several.asked(made(shop, stripe.address)),
        ledger=shop.ledger,
        inbox=inbox,
        telemetry=telemetry(shop.lines, shop.clock),
    )
    assert hourly.run(shop.clock.now + HOUR) == 1
    assert {key for key, _ in stripe.asked_with} == {US}
    assert {json.loads(text)["via"] for text in shop.queue.texts} == {"shop-us"}


def test_who_is_down_is_not_waited_for_and_holds_up_nobody(stripe: Stripes) -> None:
    """Of a record that is no one's the others are asked; one's own goes on, also after that."""
    apis = several.asked(made(Shop(), stripe.address))["stripe"]
    stripe.of[OWN].objects["/v1/subscriptions/sub_own"] = {"id": "sub_own", "object": "subscription"}
    del stripe.of[US]
    down: set[str] = set()
    with pytest.raises(Unavailable):
        apis.subscription("stripe:sub_a", None, down)
    assert down == {"shop-us"}
    assert apis.subscription("stripe:sub_own", None, down)
    before = len(stripe.asked_with)
    with pytest.raises(Unavailable, match="just now"):
        apis.subscription("stripe:sub_us", "shop-us", down)
    assert len(stripe.asked_with) == before
    assert (apis.via("shop-us"), apis.via("acct_1"), apis.via(None)) == ("shop-us", None, None)
    able = [apis.can_complete(each) for each in (None, "shop-us", "shop-de")]
    assert able == [True, True, False]


def test_what_nobody_knows_may_be_the_stages_own(stripe: Stripes) -> None:
    """Where that has no key: it is not unknown to the provider, but was not asked about."""
    shop = Shop()
    record(shop, message(snapshot("pi_own"), None))
    given = {"stripe_webhook_secrets": ["whsec_own"], "accounts": {"shop-us": {"stripe_api_key": US}}}
    apis = several.asked(made(shop, stripe.address, given))
    with pytest.raises(NotAllowed):
        apis["stripe"].differences(payment(shop, "stripe:pi_own"))
    assert not against.compare(shop.ledger, "stripe:pi_own", apis).was_asked


def test_a_payouts_list_is_begun_anew_where_its_account_is_gone(stripe: Stripes) -> None:
    """And one account's refusal keeps no other from being asked."""
    bank = StripeBank()
    for number in range(130):
        bank.charge_fee(f"fee_{number}", START + number, -100)
    bank.pay_out(START + 10 * 86_400)
    stripe.of[US].bank = bank
    shop = Shop()
    apis = several.asked(made(shop, stripe.address))["stripe"]
    first = apis.contents("stripe:po_1", None, None, set())
    assert first
    assert first.next
    assert apis.contents("stripe:po_1", None, "shop-de txn_1", set()) == first
    assert apis.contents("stripe:po_1", None, "txn_1", set()) == first  # as it was noted before
    del stripe.of[OWN]
    assert apis.contents("stripe:po_1", None, None, set()) == first


def test_a_key_that_no_header_can_hold_is_that_accounts_trouble_alone(stripe: Stripes) -> None:
    """Copied with an ellipsis: its listing fails, the others' do not."""
    uk = {"paypal_client_id": "AbC…", "paypal_client_secret": "x"}
    shop = Shop()
    listings = made(shop, stripe.address, {"stripe_api_key": OWN, "accounts": {"shop-uk": uk}})
    assert list(listings) == ["stripe", "paypal shop-uk"]
    backwards = dict(reversed(listings.items()))
    watched(reconciling(shop), backwards, shop.clock.now + HOUR)
    assert last_success(shop.ledger, "stripe") == shop.clock.now
    assert "paypal_client" in "".join(shop.lines)


def test_payouts_of_each_account_are_read_with_its_key(stripe: Stripes) -> None:
    """What each is made of, page by page, by whichever account knows it; and the record says whose it is."""
    banks = {OWN: StripeBank(), US: StripeBank()}
    for key, bank in banks.items():
        for number in range(130):
            bank.charge_fee(f"fee_{key}_{number}", START + number, -100)
        bank.pay_out(START + 10 * 86_400)
        stripe.of[key].bank = bank
    shop = Shop()
    record(shop, *[message(each, "shop-us") for each in banks[US].events])
    apis = several.asked(made(shop, stripe.address))
    inbox: Any = shop.queue
    contents = Contents(
        providers=PROVIDERS,
        apis=apis,
        ledger=shop.ledger,
        inbox=inbox,
        telemetry=telemetry(shop.lines, shop.clock),
    )
    contents.run(shop.clock.now)
    texts, shop.queue.texts = shop.queue.texts, []
    record(shop, *map(Message.decode, texts))
    found = payouts.project("stripe:po_1", shop.ledger.record("stripe:po_1").facts)
    assert found.account == "shop-us"
    assert found.consistent
    assert (found.transactions or {})["count"] == 130
    assert {key for key, _ in stripe.asked_with} == {US}
    stripe.of[OWN].bank = StripeBank()
    both: Any = apis["stripe"]
    first = both.contents("stripe:po_1", None, None, set())
    assert first.next.startswith("shop-us ")
    assert both.contents("stripe:po_1", None, first.next, set()).next is None
    with pytest.raises(NotFound):
        both.contents("stripe:po_none", None, None, set())


# ── listings ────────────────────────────────────────────────────────────────────────────────────────


def test_each_account_is_reconciled_from_a_place_of_its_own(stripe: Stripes) -> None:
    """With one account's key wrong, the other's missing events are found, and are known to be its."""
    shop = Shop()
    now = shop.clock.now
    stripe.of[US].events = [event_listed("evt_us", now - DAY)]
    stripe.of[OWN].events = [event_listed("evt_own", now - DAY)]
    listings = {key: api for key, api in made(shop, stripe.address).items() if key.startswith("stripe")}
    own = stripe.of.pop(OWN)
    reconciler = reconciling(shop)
    watched(reconciler, listings, now + HOUR)
    assert [json.loads(text)["via"] for text in shop.queue.texts] == ["shop-us"]
    assert last_success(shop.ledger, "stripe shop-us") == now
    assert last_success(shop.ledger, "stripe") is None
    stripe.of[OWN] = own
    watched(reconciler, listings, now + HOUR)
    assert [Message.decode(text).via for text in shop.queue.texts] == ["shop-us", None]
    read_balances(reconciler, listings, now + HOUR)
    assert {key for key, path in stripe.asked_with if path.endswith("balance_transactions")} == {OWN, US}


def reconciling(shop: Shop) -> Reconciler:
    inbox: Any = shop.queue
    return Reconciler(
        providers=PROVIDERS,
        ledger=shop.ledger,
        inbox=inbox,
        telemetry=telemetry(shop.lines, shop.clock),
        clock=shop.clock,
        pause=lambda seconds: None,
    )

"""Asking PayPal: what is sent, what counts as yes, what an outage means, and what contradicts an event."""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from chalicelib import subscriptions
from chalicelib.budget import HOUR
from chalicelib.errors import (
    Distrusted,
    InvalidPayload,
    InvalidSignature,
    NotConfigured,
    NotShown,
    Unavailable,
)
from chalicelib.events import Event
from chalicelib.providers import paypal
from chalicelib.providers.paypal.client import IN_VAIN, IN_VAIN_EACH, PayPalApi
from chalicelib.providers.paypal.confirmation import confirmed, judged, path_to_subscription
from chalicelib.providers.protocol import Trust
from chalicelib.times import DAY, to_iso
from ops.stories import tell
from ops.stories.paypal_subscriptions import PayPalSubscription
from tests.fake_apis import BROKEN, FakePayPal
from tests.fakes import (
    NOW,
    WEBHOOK_ID,
    Clock,
    OneCertificate,
    as_bytes,
    facts_of_event,
    paypal_leaf,
    signed,
)

BODY = b'{"id": "WH-1",  "amount": 1.10}'


@pytest.fixture
def api() -> Iterator[FakePayPal]:
    with FakePayPal([], webhook_id=WEBHOOK_ID) as made:
        yield made


def trusted(api: FakePayPal, *ids: str, client: tuple[str, ...] = ("id", "secret")) -> Trust:
    postback = PayPalApi(api.address, client, Clock())
    return Trust({"paypal_webhook_ids": ids}, OneCertificate(paypal_leaf()), postback)


def test_paypal_decides(api: FakePayPal) -> None:
    """Asked once, for the webhook id that it was signed for; the body goes to PayPal byte for byte."""
    paypal.verify(signed("paypal", BODY), trusted(api, "other", WEBHOOK_ID))
    assert [path.rpartition("/")[2] for path in api.asked] == ["token", "verify-webhook-signature"]
    assert BODY in api.requests[-1].body


@pytest.mark.parametrize("fault", [None, (400, {}, {"name": "VALIDATION_ERROR"})])
def test_paypals_no_is_a_refusal(api: FakePayPal, fault: Any) -> None:
    """Even where our own check has passed; that it does not understand the question is a no too."""
    api.webhook_id = "somebody else's"
    api.faults = [fault] if fault else []
    with pytest.raises(InvalidSignature):
        paypal.verify(signed("paypal", BODY), trusted(api, WEBHOOK_ID))


def test_paypal_is_not_asked_about_rubbish(api: FakePayPal) -> None:
    """What our own check refuses is nobody else's work; nor is what was signed and is not JSON."""
    trust = trusted(api, WEBHOOK_ID)
    genuine = signed("paypal", BODY)
    for refused in (
        replace(genuine, body=BODY + b" "),
        signed("paypal", BODY, at=NOW - 80 * 3_600_000),
        replace(genuine, headers={}),
    ):
        with pytest.raises(InvalidSignature):
            paypal.verify(refused, trust)
    with pytest.raises(InvalidPayload):
        paypal.verify(signed("paypal", b"}, "), trust)
    assert api.asked == []


def test_paypal_is_not_asked_without_end(api: FakePayPal) -> None:
    """What passes here and PayPal does not know: a few times each, some more in all; nothing is accepted."""
    api.webhook_id = "somebody else's"
    clock = Clock()
    asking = PayPalApi(api.address, ("id", "secret"), clock)
    trust = Trust({"paypal_webhook_ids": (WEBHOOK_ID,)}, OneCertificate(paypal_leaf()), asking)

    def refused(number: int, why: type[Exception]) -> None:
        with pytest.raises(why):
            paypal.verify(signed("paypal", BODY, number=number), trust)

    for _ in range(IN_VAIN_EACH):
        refused(0, InvalidSignature)
    refused(0, Unavailable)
    for number in range(1, IN_VAIN):
        refused(number, InvalidSignature)
    refused(1, Unavailable)  # it was in vain once, and so was too much
    asked = len(api.asked)
    api.webhook_id = WEBHOOK_ID
    paypal.verify(signed("paypal", BODY, number=IN_VAIN), trust)  # nobody has made anything of this one
    assert len(api.asked) == asked + 1
    clock.now += HOUR
    paypal.verify(signed("paypal", BODY), trust)


def test_an_outage_is_no_verdict(api: FakePayPal) -> None:
    """PayPal is to send it again."""
    for fault in (500, 403, 429):
        api.faults = [(fault, {}, {})]
        with pytest.raises(Unavailable):
            paypal.verify(signed("paypal", BODY), trusted(api, WEBHOOK_ID))
    with pytest.raises(NotConfigured):
        paypal.verify(signed("paypal", BODY), trusted(api, WEBHOOK_ID, client=()))


def test_a_connection_that_broke_is_made_anew(api: FakePayPal) -> None:
    """As a kept one does that PayPal closed meanwhile; twice is an outage."""
    api.objects["/x"] = {"name": "it"}
    asked = PayPalApi(api.address, ("id", "secret"), Clock())
    api.faults = [(BROKEN, {}, {})]
    assert asked.get("/x") == {"name": "it"}
    api.faults = [(BROKEN, {}, {})] * 2
    with pytest.raises(Unavailable):
        asked.get("/x")


# ── confirming money ────────────────────────────────────────────────────────────────────────────────

PATHS = {
    "PAYMENT.CAPTURE.COMPLETED": "/v2/payments/captures/",
    "PAYMENT.CAPTURE.REFUNDED": "/v2/payments/refunds/",
    "PAYMENT.CAPTURE.REVERSED": "/v2/payments/refunds/",
    "PAYMENT.REFUND.FAILED": "/v2/payments/refunds/",
    "PAYMENT.SALE.COMPLETED": "/v1/payments/sale/",
    "PAYMENT.SALE.REFUNDED": "/v1/payments/refund/",
    "PAYMENT.AUTHORIZATION.CREATED": "/v2/payments/authorizations/",
    "PAYMENT.CAPTURE.DENIED": "/v2/payments/captures/",
    "PAYMENT.AUTHORIZATION.VOIDED": "/v2/payments/authorizations/",
    "CUSTOMER.DISPUTE.CREATED": "/v1/customer/disputes/",
    "CUSTOMER.DISPUTE.RESOLVED": "/v1/customer/disputes/",
}
MONEY = [type_ for type_ in PATHS if "DISPUTE" not in type_]


def made(type_: str) -> tuple[Event, dict[str, Any]]:
    """An event of that type, and its resource as PayPal would show it."""
    _, [sent] = tell("paypal", random.Random(1), NOW, 5000, "EUR", type_=type_)
    return paypal.event(as_bytes(sent), NOW), sent["resource"]


def path_of(type_: str, resource: dict[str, Any]) -> str:
    return PATHS[type_] + str(resource.get("dispute_id") or resource["id"])


@pytest.mark.parametrize("type_", PATHS)
def test_money_is_confirmed_at_paypals_own_address(api: FakePayPal, type_: str) -> None:
    """By the resource's id, whatever links the event has; one that is as it says is kept as it came."""
    event, resource = made(type_)
    path = path_of(type_, resource)
    api.objects[path] = resource
    found = PayPalApi(api.address, ("id", "secret"), Clock()).complete(event)
    assert api.asked[:2] == ["/v1/oauth2/token", path]
    assert found == replace(event, is_confirmed=True)


def test_a_subscription_is_as_paypal_shows_it_and_not_as_a_body_says(api: FakePayPal) -> None:
    """Whoever holds a delivery could give it another body: with a year paid, and nothing owed."""
    it = PayPalSubscription(random.Random(1), NOW, 1900, "EUR", None)
    it.created(40)
    it.activated()
    genuine = it.payment_failed()
    shown = genuine["resource"]
    forged = {**shown, "billing_info": {**shown["billing_info"], "next_billing_time": "2036-01-01T00:00:00Z"}}
    forged["billing_info"] |= {"failed_payments_count": 0, "outstanding_balance": {}}
    event = paypal.event(as_bytes({**genuine, "resource": forged}), NOW)
    path = f"/v1/billing/subscriptions/{it.id}"
    asked = PayPalApi(api.address, ("id", "secret"), Clock())
    with pytest.raises(NotShown):
        asked.complete(event)
    api.objects[path] = {**shown, "id": "I-ANOTHER"}
    with pytest.raises(Distrusted):
        asked.complete(event)
    api.objects[path] = shown
    found = asked.complete(event)
    assert found.is_confirmed
    assert subscriptions.project(it.subject, paypal.facts(found)[it.subject]).status == "past_due"
    as_it_came = paypal.event(as_bytes(genuine), NOW)
    assert asked.complete(as_it_came) == replace(as_it_came, is_confirmed=True)


def test_a_sale_brings_its_subscription_with_it(api: FakePayPal) -> None:
    """With its plan: so that it is known until when it is paid."""
    it = PayPalSubscription(random.Random(1), NOW, 1900, "EUR", None)
    it.created(5)
    it.activated()
    sale = it.sale()
    api.objects[f"/v1/payments/sale/{it.sale_id}"] = sale["resource"]
    event = paypal.event(as_bytes(sale), NOW)
    asked = PayPalApi(api.address, ("id", "secret"), Clock())
    alone = asked.complete(event)  # of an agreement that is older than subscriptions: it counts all the same
    assert (alone.is_confirmed, alone.completed) == (True, None)
    api.objects[f"/v1/billing/subscriptions/{it.id}"] = it.shown()
    found = asked.complete(event)
    proved = paypal.facts(paypal.event(found.completed or b"", NOW))  # as it is read again
    shown = subscriptions.project(it.subject, proved[it.subject])
    assert found.is_confirmed
    assert (shown.status, shown.certain, shown.paid_through) == ("active", True, it.now + 30 * DAY)
    assert proved[found.subject]["payment"]["related"] == [f"subscription {it.id}"]


def test_an_application_may_not_read_subscriptions(api: FakePayPal) -> None:
    """Then an event of one is as good as its signature, and a sale counts."""
    it = PayPalSubscription(random.Random(1), NOW, 1900, "EUR", None)
    event = paypal.event(as_bytes(it.created(5)), NOW)
    asked = PayPalApi(api.address, ("id", "secret"), Clock())
    asked.get("/nothing")
    api.faults = [(403, {}, {})]
    assert asked.complete(event) == event


def test_a_cancellation_is_borne_out_by_the_status_alone(api: FakePayPal) -> None:
    """Whoever holds a delivery could change its type: handlers of raw events would hear it."""
    it = PayPalSubscription(random.Random(1), NOW, 1900, "EUR", None)
    it.created(5)
    it.activated()
    forged = {**it.stated("UPDATED"), "event_type": "BILLING.SUBSCRIPTION.CANCELLED"}
    api.objects[f"/v1/billing/subscriptions/{it.id}"] = it.shown()
    asked = PayPalApi(api.address, ("id", "secret"), Clock())
    with pytest.raises(NotShown):
        asked.complete(paypal.event(as_bytes(forged), NOW))


def test_an_agreement_of_version_1_is_shown_elsewhere() -> None:
    """At the address that version had."""
    resource = {"id": "I-1", "state": "Active", "agreement_details": {}}
    event = {"id": "WH-1", "event_type": "BILLING.SUBSCRIPTION.CREATED", "resource": resource}
    path = path_to_subscription(paypal.event(as_bytes(event), NOW))
    assert path == "/v1/payments/billing-agreements/I-1"


def test_whether_it_is_a_reversal_only_the_event_itself_says(api: FakePayPal) -> None:
    """At the API both are refunds: PayPal's own copy decides, where the webhook is this application's."""
    event, resource = made("PAYMENT.CAPTURE.REVERSED")
    api.objects[path_of(event.type, resource)] = resource
    mine = PayPalApi(api.address, ("id", "secret"), Clock(), webhook_ids=(WEBHOOK_ID,))
    mine.complete(event)  # another application's events are not shown to this one
    api.objects["/v1/notifications/webhooks"] = {"webhooks": [{"id": WEBHOOK_ID}]}
    with pytest.raises(NotShown):
        mine.complete(event)
    copy = f"/v1/notifications/webhooks-events/{event.id}"
    api.objects[copy] = {**event.payload, "event_type": "PAYMENT.CAPTURE.REFUNDED"}
    with pytest.raises(Distrusted):
        mine.complete(event)
    api.objects[copy] = {**event.payload, "resource": {"id": "ANOTHER"}}
    with pytest.raises(Distrusted):
        mine.complete(event)
    api.objects[copy] = event.payload
    assert mine.complete(event).is_confirmed


@pytest.mark.parametrize(
    "change",
    [
        {"amount": {"value": "5000.00", "currency_code": "EUR"}},
        {"amount": {"value": "50.00", "currency_code": "USD"}},
        {"amount": None},
        {"id": "ANOTHER"},
        {"status": "DECLINED"},
    ],
)
def test_what_paypal_shows_otherwise_contradicts(api: FakePayPal, change: dict[str, Any]) -> None:
    """Another amount, currency, resource or state."""
    event, resource = made("PAYMENT.CAPTURE.COMPLETED")
    api.objects[path_of(event.type, resource)] = {**resource, **change}
    with pytest.raises(Distrusted) as refused:
        PayPalApi(api.address, ("id", "secret"), Clock()).complete(event)
    assert refused.value.reason == "contradicted"


@pytest.mark.parametrize(
    ("type_", "change"),
    [
        ("PAYMENT.CAPTURE.REFUNDED", {"capture_id": "ANOTHER"}),
        ("PAYMENT.SALE.REFUNDED", {"sale_id": "ANOTHER"}),
        ("PAYMENT.REFUND.FAILED", {"status": "COMPLETED"}),
        ("PAYMENT.CAPTURE.DENIED", {"status": "COMPLETED"}),
    ],
)
def test_a_refund_of_another_payment_or_end_contradicts(
    api: FakePayPal, type_: str, change: dict[str, Any]
) -> None:
    """A real refund's id and amount do not make it one of this payment, nor one that failed."""
    event, resource = made(type_)
    api.objects[path_of(type_, resource)] = {**resource, **change}
    with pytest.raises(Distrusted):
        PayPalApi(api.address, ("id", "secret"), Clock()).complete(event)


@pytest.mark.parametrize("made_up", ["3C_1", "3C.", "../3C", "3C?x=1"])
def test_an_id_that_is_none_of_paypals_is_asked_about_too(api: FakePayPal, made_up: str) -> None:
    """PayPal shows nothing of it: it never counts unasked."""
    event, _ = made("PAYMENT.CAPTURE.COMPLETED")
    forged = replace(event, payload={**event.payload, "resource": {"id": made_up}})
    with pytest.raises(Unavailable):
        PayPalApi(api.address, ("id", "secret"), Clock()).complete(forged)
    assert api.asked[-1] == "/v2/payments/captures/" + quote(made_up, safe="")


@pytest.mark.parametrize("type_", MONEY)
@pytest.mark.parametrize("id_", [None, "", 7, "a b", "x" * 300])
def test_money_of_nothing_that_has_an_id_never_counts(api: FakePayPal, type_: str, id_: Any) -> None:
    """Nothing could be asked about it; and what else it holds, as a dispute's id, names no payment."""
    event, resource = made(type_)
    body = as_bytes({**event.payload, "resource": {**resource, "id": id_, "dispute_id": "VICTIM"}})
    forged = paypal.event(body, NOW)
    assert "VICTIM" not in forged.subject
    assert paypal.needs_asking(forged)
    with pytest.raises(Distrusted):
        PayPalApi(api.address, ("id", "secret"), Clock()).complete(forged)
    with pytest.raises(ValueError, match="id"):
        paypal.facts(forged)
    assert api.asked == []


SAID = {
    "captured": "PAYMENT.CAPTURE.COMPLETED",
    "processing": "PAYMENT.CAPTURE.PENDING",
    "failed": "PAYMENT.CAPTURE.DENIED",
    "authorized": "PAYMENT.AUTHORIZATION.CREATED",
    "canceled": "PAYMENT.AUTHORIZATION.VOIDED",
    "refunded": "PAYMENT.CAPTURE.REFUNDED",
    "reversed": "PAYMENT.CAPTURE.REVERSED",
    "refund pending": "PAYMENT.REFUND.PENDING",
    "refund failed": "PAYMENT.REFUND.FAILED",
}
# Every status that PayPal documents of that resource, by what it makes of the event: + it counts, - it
# contradicts, ~ it may be late, x it has come to nothing since. v2's; v1's in the last line of each.
TABLE = """
captured        +COMPLETED +PARTIALLY_REFUNDED +REFUNDED ~PENDING -DECLINED -FAILED
captured        +completed +partially_refunded +refunded ~pending -denied
processing      +COMPLETED +PARTIALLY_REFUNDED +REFUNDED +PENDING xDECLINED xFAILED
processing      +completed +partially_refunded +refunded +pending xdenied
failed          -COMPLETED -PARTIALLY_REFUNDED -REFUNDED ~PENDING +DECLINED +FAILED
failed          -completed -partially_refunded -refunded ~pending +denied
authorized      +CREATED +CAPTURED +PARTIALLY_CAPTURED ~PENDING xDENIED xVOIDED
authorized      +authorized +captured +partially_captured ~pending xexpired xvoided
canceled        ~CREATED -CAPTURED ~PARTIALLY_CAPTURED ~PENDING ~DENIED +VOIDED
canceled        ~authorized -captured ~partially_captured ~pending +expired +voided
refunded        +COMPLETED ~PENDING xFAILED xCANCELLED
reversed        +COMPLETED ~PENDING xFAILED xCANCELLED
refund pending  +COMPLETED +PENDING xFAILED xCANCELLED
refund failed   -COMPLETED ~PENDING +FAILED +CANCELLED
"""
ROWS = [(line[:16].strip(), each[0], each[1:]) for line in TABLE.split("\n") for each in line[16:].split()]


@pytest.mark.parametrize(("said", "sign", "status"), [*ROWS, *((said, "~", "NEW") for said in SAID)])
def test_every_state_means_something(said: str, sign: str, status: str) -> None:
    """Of every event of money; a status that nobody has documented decides nothing."""
    event, resource = made(SAID[said])
    field = "status" if status.isupper() else "state"
    shown = {**{name: resource[name] for name in resource if name != "status"}, field: status}
    expected = {"+": "COUNTS", "-": "CONTRADICTED", "~": "LATE", "x": "OVERTAKEN"}[sign]
    assert judged(event, shown).name == expected


@pytest.mark.parametrize(
    ("type_", "status", "field"),
    [
        ("PAYMENT.CAPTURE.PENDING", "DECLINED", "failed_at"),
        ("PAYMENT.AUTHORIZATION.CREATED", "VOIDED", "canceled_at"),
        ("PAYMENT.CAPTURE.REFUNDED", "FAILED", "failed_at"),
    ],
)
def test_what_has_come_to_nothing_since_is_recorded_so(type_: str, status: str, field: str) -> None:
    """As of when PayPal changed it, however late the event is said to be."""
    event, resource = made(type_)
    later = replace(event, created_at=NOW + 50_000, received_at=NOW + 60_000)
    found = confirmed(later, {**resource, "status": status, "update_time": to_iso(NOW + 55_000)})
    thing = next(each for each in facts_of_event(found).values() if field in each)
    assert thing[field] == NOW + 55_000


def test_what_paypal_shows_counts_and_not_what_the_body_adds() -> None:
    """Times before it was made or after it came, other orders, other totals: under a real id and amount."""
    event, resource = made("PAYMENT.CAPTURE.REFUNDED")
    honest = facts_of_event(confirmed(event, resource))
    forged = {
        **resource,
        "create_time": "2000-01-01T00:00:00Z",
        "seller_payable_breakdown": {"total_refunded_amount": {"value": "50.01", "currency_code": "EUR"}},
    }
    told = {**event.payload, "create_time": "2000-01-01T00:00:00Z", "resource": forged}
    told["links"] = [{"href": "https://api.paypal.com/v1/x"}]
    lie = paypal.event(as_bytes(told), NOW)
    for shown, asked_at in (
        (resource, ""),
        ({**resource, "links": resource["links"][1:]}, "https://api-m.sandbox.paypal.com/v2/x"),
    ):
        found = confirmed(lie, shown, asked_at)
        assert facts_of_event(found) == honest
    assert found.is_same_as(paypal.event(as_bytes(told), NOW))


def test_a_refund_is_of_the_payment_that_paypal_shows() -> None:
    """One of v1 that names none is found by it; where PayPal names none either, it waits."""
    event, resource = made("PAYMENT.SALE.REFUNDED")
    unnamed = {name: value for name, value in resource.items() if name not in ("sale_id", "links")}
    said = paypal.event(as_bytes({**event.payload, "resource": unnamed}), NOW)
    assert said.subject == f"paypal:{resource['id']}"
    assert confirmed(said, resource).subject == f"paypal:{resource['sale_id']}"
    with pytest.raises(NotShown):
        confirmed(event, unnamed)


def test_a_dispute_is_as_paypal_shows_it(api: FakePayPal) -> None:
    """Its amount, outcome and end; not another capture, not an end that PayPal does not show."""
    event, resource = made("CUSTOMER.DISPUTE.RESOLVED")
    resolved = resource["disputed_transactions"][0]["seller_transaction_id"]
    forged = {**resource, "dispute_amount": {"value": "9.00", "currency_code": "EUR"}}
    lie = paypal.event(as_bytes({**event.payload, "resource": forged}), NOW)
    assert facts_of_event(confirmed(lie, resource)) == facts_of_event(event)
    with pytest.raises(NotShown):
        confirmed(event, {**resource, "status": "OPEN"})
    with pytest.raises(NotShown):
        confirmed(event, {**resource, "disputed_transactions": []})
    for other in (
        {"disputed_transactions": [{"seller_transaction_id": resolved}, {"seller_transaction_id": "MORE"}]},
        {"dispute_id": "PP-D-2"},
    ):
        with pytest.raises(Distrusted):
            confirmed(
                paypal.event(as_bytes({**event.payload, "resource": {**resource, **other}}), NOW), resource
            )
    asking = PayPalApi(api.address, ("id", "secret"), Clock())
    api.faults = [(403, {}, {"name": "NOT_AUTHORIZED"})] * 2
    assert asking.complete(event) == event  # as good as its signature
    api.objects["/v1/customer/disputes"] = {"items": []}
    api.faults = [(403, {}, {"name": "NOT_AUTHORIZED"})]
    with pytest.raises(Unavailable):  # it may read disputes, and this one is somebody else's
        asking.complete(event)
    money, _ = made("PAYMENT.CAPTURE.COMPLETED")
    api.faults = [(403, {}, {"name": "NOT_AUTHORIZED"})]
    with pytest.raises(Unavailable):
        asking.complete(money)


def test_that_disputes_cannot_be_asked_about_is_said(api: FakePayPal) -> None:
    """By `doctor`: such an application has to be allowed it."""
    asking = PayPalApi(api.address, ("id", "secret"), Clock())
    api.objects["/v1/notifications/webhooks"] = {"webhooks": []}
    assert not [each for each in asking.endpoints() if "disputes" in each.found]
    api.objects["/v1/customer/disputes"] = {"items": []}
    api.faults = [(200, {}, {"webhooks": []}), (403, {}, {"name": "NOT_AUTHORIZED"})]
    [notice] = [each for each in asking.endpoints() if "disputes" in each.found]
    assert "allow Disputes" in notice.remedy


def test_an_outage_contradicts_nothing(api: FakePayPal) -> None:
    """The event waits until PayPal can be asked."""
    event, resource = made("PAYMENT.CAPTURE.COMPLETED")
    api.objects[path_of(event.type, resource)] = resource
    paypals = PayPalApi(api.address, ("id", "secret"), Clock())
    api.faults = [(503, {}, {})]
    with pytest.raises(Unavailable):
        paypals.complete(event)
    paypals.complete(event)


def test_a_token_that_is_revoked_is_replaced(api: FakePayPal) -> None:
    """By the next try, not when its time is up."""
    event, resource = made("PAYMENT.CAPTURE.COMPLETED")
    path = path_of(event.type, resource)
    paypals = PayPalApi(api.address, ("id", "secret"), Clock())
    with pytest.raises(Unavailable):
        paypals.complete(event)  # not shown yet
    api.objects[path] = resource
    api.faults = [(401, {}, {})]
    with pytest.raises(Unavailable):
        paypals.complete(event)
    paypals.complete(event)
    assert api.asked.count("/v1/oauth2/token") == 2


@pytest.mark.parametrize(
    "type_",
    [
        "CHECKOUT.ORDER.APPROVED",
        "BILLING.PLAN.CREATED",
    ],
)
def test_what_moves_no_money_is_not_asked_about(api: FakePayPal, type_: str) -> None:
    """One question less."""
    event, _ = made(type_)
    PayPalApi(api.address, ("id", "secret"), Clock()).complete(event)
    assert api.asked == []

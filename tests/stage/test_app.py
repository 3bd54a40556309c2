"""The routes, through Chalice's own test client, with the real queue and table of an emulator."""

import base64
import importlib
import json
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from chalice.test import Client, HTTPResponse

from chalicelib.accounts import fingerprint
from ops.local.event_source import EventSource
from ops.local.paypal import leaf
from ops.sender import PayPalSigner, StripeSigner
from ops.stage import Stage
from ops.stories import tell
from tests.fakes import DEV_SECRET, SIGNER, as_bytes, paypal_authority
from tests.fakes import NOW as THEN

EVENT = as_bytes({"id": "evt_1", "type": "charge.succeeded", "livemode": False})


@pytest.fixture
def client(daybook: Any) -> Any:
    with Client(daybook.app, stage_name="local") as made:
        yield made


def stripe_headers(body: bytes, secret: str = "whsec_new", name: str = "Stripe-Signature") -> dict[str, str]:
    made = StripeSigner(secret).headers(body, int(time.time() * 1000))
    return {"Content-Type": "application/json", name: made["Stripe-Signature"]}


def post(
    client: Client, body: bytes, headers: dict[str, str], path: str = "/webhooks/stripe"
) -> HTTPResponse:
    return client.http.post(path, headers=headers, body=body)


def drain(stage: Stage, daybook: Any) -> None:
    source = EventSource(stage.client("sqs"), daybook.SETTINGS.names.queue, daybook.process)
    while source.poll(0):
        pass


@contextmanager
def observed(daybook: Any) -> Iterator[list[str]]:
    """The AWS operations that the app asks for meanwhile."""
    calls: list[str] = []

    def listen(service: str, operation: str, body: bytes) -> None:
        calls.append(operation)

    daybook._aws().listeners.append(listen)
    yield calls
    daybook._aws().listeners.remove(listen)


@pytest.mark.parametrize("name", ["Stripe-Signature", "stripe-signature", "STRIPE-SIGNATURE"])
@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "text/plain"]
)
def test_a_genuine_webhook_is_accepted(client: Client, name: str, content_type: str) -> None:
    """Whatever the case of its headers and its content type."""
    headers = {**stripe_headers(EVENT, name=name), "Content-Type": content_type}
    response = post(client, EVENT, headers)
    assert (response.status_code, response.json_body) == (200, {"status": "accepted", "event_id": "evt_1"})


def test_a_base64_body_is_decoded(daybook: Any) -> None:
    """As API Gateway sends a body of a binary media type."""
    event = {
        "requestContext": {"resourcePath": "/webhooks/{provider}", "httpMethod": "POST"},
        "pathParameters": {"provider": "stripe"},
        "multiValueQueryStringParameters": None,
        "stageVariables": None,
        "headers": stripe_headers(EVENT),
        "body": base64.b64encode(EVENT).decode(),
        "isBase64Encoded": True,
    }
    assert daybook.app(event, None)["statusCode"] == 200
    assert daybook.app({**event, "body": "A"}, None)["statusCode"] == 400


def test_a_genuine_paypal_webhook_is_accepted(client: Client, daybook: Any) -> None:
    """Verified with a certificate that the ledger keeps already, so that nothing is fetched."""
    now = time.time_ns() // 1_000_000
    issued = leaf(paypal_authority(), SIGNER, datetime.fromtimestamp(now / 1000, UTC))
    url = "https://api.paypal.com/v1/notifications/certs/CERT-kept"
    daybook._ledger().certificates.keep_certificate(url, issued.pem)
    body = as_bytes({"id": "WH-1", "event_type": "PAYMENT.CAPTURE.COMPLETED", "resource": {"id": "2GG"}})
    signer = PayPalSigner(issued.key, url, "LOCAL00000000001", random.Random(1))
    response = post(client, body, signer.headers(body, now), "/webhooks/paypal")
    assert (response.status_code, response.json_body["event_id"]) == (200, "WH-1")


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (EVENT, {}, 401, "InvalidSignature"),
        (EVENT, {"Stripe-Signature": "garbage"}, 401, "InvalidSignature"),
        (EVENT, {"Stripe-Signature": "t=1,v1=ü"}, 401, "InvalidSignature"),
        (EVENT, "whsec_unknown", 401, "InvalidSignature"),
        (b"not json", "whsec_old", 400, "InvalidPayload"),
        (b"[]", "whsec_old", 400, "InvalidPayload"),
        (b'{"id": null}', "whsec_old", 400, "InvalidPayload"),
        (b"x" * (2**20 + 1), "whsec_old", 413, "PayloadTooLarge"),
    ],
)
def test_bad_input_is_refused_as_the_contract_says(
    client: Client, body: bytes, headers: dict[str, str] | str, status: int, code: str
) -> None:
    """Its own status and code; and nothing of what was sent in the answer."""
    sent = stripe_headers(body, headers) if isinstance(headers, str) else headers
    response = post(client, body, sent)
    assert (response.status_code, response.json_body["Code"]) == (status, code)
    assert set(response.json_body) == {"Code", "Message"}


def test_form_data_without_a_signature_is_a_clean_401(client: Client) -> None:
    """What ``curl -d '{}'`` sends."""
    response = post(client, b"{}", {"Content-Type": "application/x-www-form-urlencoded"})
    assert response.status_code == 401


def test_an_unknown_provider_is_not_found(client: Client) -> None:
    """In the contract's error shape."""
    response = post(client, EVENT, {}, "/webhooks/square")
    assert (response.status_code, response.json_body["Code"]) == (404, "NotFound")


def app_with(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> Any:
    """The app as it is imported anew under that environment; the other tests keep theirs."""
    for each, text in environ.items():
        monkeypatch.setenv(each, text)
    sys.modules.pop("app", None)
    app = importlib.import_module("app")
    sys.modules.pop("app")
    return app


@pytest.mark.parametrize(("name", "value"), [("STRIPE_WEBHOOK_SECRETS", ""), ("DAYBOOK_QUEUE", "gone.fifo")])
def test_what_cannot_be_decided_or_kept_is_unavailable(
    stage_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """No secret, no queue: 503 with Retry-After, so that the provider sends it again; never accepted."""
    app = app_with(monkeypatch, {**stage_environ, name: value})
    with Client(app.app, stage_name="local") as client:
        response = post(client, EVENT, stripe_headers(EVENT))
    assert (response.status_code, response.json_body["Code"]) == (503, "Unavailable")
    assert int(response.headers["Retry-After"]) > 0


def test_without_an_emulator_the_log_says_what_is_missing(
    stage_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As plain ``chalice local`` is without ``make run``."""
    app = app_with(monkeypatch, {**stage_environ, "AWS_ENDPOINT_URL": "", "AWS_REGION": "none-1"})
    with Client(app.app, stage_name="local") as client:
        response = post(client, EVENT, stripe_headers(EVENT))
    assert response.status_code == 503
    [refused] = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"refused"' in line]
    assert "`make run`" in refused["hint"]
    assert "AWS_ENDPOINT_URL" in refused["hint"]


def test_one_webhook_costs_one_aws_call(daybook: Any, client: Client) -> None:
    """Once warm: a SendMessage, and nothing else."""
    post(client, EVENT, stripe_headers(EVENT))
    with observed(daybook) as calls:
        post(client, EVENT, stripe_headers(EVENT))
    assert calls == ["SendMessage"]


def test_recording_an_event_costs_one_read_and_one_transaction(
    daybook: Any, client: Client, stage: Stage
) -> None:
    """However many events the payment has had; a batch of several payments costs the same once."""
    [subject] = record_stories(client, daybook, stage, 1)
    for n in range(3):
        about = {"object": "payment_intent", "id": subject.removeprefix("stripe:"), "currency": "eur"}
        event = {"id": f"evt_more_{n}", "type": "payment_intent.processing", "data": {"object": about}}
        post(client, as_bytes(event), stripe_headers(as_bytes(event)))
        with observed(daybook) as calls:
            drain(stage, daybook)
        assert calls == ["GetItem", "TransactWriteItems"]
    subjects = record_stories(client, daybook, stage, 3)
    for subject in subjects:
        about = {"object": "payment_intent", "id": subject.removeprefix("stripe:"), "currency": "eur"}
        event = {"id": f"evt_of_{subject}", "type": "payment_intent.processing", "data": {"object": about}}
        post(client, as_bytes(event), stripe_headers(as_bytes(event)))
    with observed(daybook) as calls:
        drain(stage, daybook)
    assert calls == ["BatchGetItem", "TransactWriteItems"]


def test_health_touches_nothing(client: Client) -> None:
    """It says only that the app runs."""
    response = client.http.get("/health")
    assert (response.status_code, response.json_body) == (200, {"status": "ok"})


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────


def record_stories(client: Client, daybook: Any, stage: Stage, count: int) -> list[str]:
    """That many checkouts, a day apart; their subjects, the newest first."""
    subjects = []
    for n in range(count):
        start = THEN - n * 24 * 3600 * 1000
        subject, events = tell("stripe", random.Random(n), start, 1000 + n, "EUR", story="checkout")
        subjects.append(subject)
        for event in events:
            post(client, as_bytes(event), stripe_headers(as_bytes(event)))
    drain(stage, daybook)
    return subjects


def test_one_payment_is_shown_with_its_events(client: Client, daybook: Any, stage: Stage) -> None:
    """By provider and id; what is not there is a 404."""
    [subject] = record_stories(client, daybook, stage, 1)
    found = client.http.get(f"/payments/stripe/{subject.removeprefix('stripe:')}")
    payment = found.json_body
    assert found.status_code == 200
    assert (payment["id"], payment["status"], payment["net"]) == (subject, "succeeded", 1000)
    assert [event["type"] for event in payment["events"]] == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]
    assert set(payment["events"][0]) == {"id", "type", "created_at", "received_at"}
    missing = client.http.get("/payments/stripe/pi_missing")
    assert (missing.status_code, missing.json_body["Code"]) == (404, "NotFound")


def test_payments_are_listed_in_pages(client: Client, daybook: Any, stage: Stage) -> None:
    """Newest first, over days, with filters, each payment once, and a cursor until there is no more."""
    subjects = record_stories(client, daybook, stage, 5)
    seen, cursor, pages = [], "", 0
    while cursor is not None:
        page = client.http.get(f"/payments?limit=2{'&cursor=' + cursor if cursor else ''}").json_body
        seen += [payment["id"] for payment in page["payments"]]
        cursor, pages = page["cursor"], pages + 1
    assert (seen, pages) == (subjects, 3)

    def listed(query: str) -> list[str]:
        return [p["id"] for p in client.http.get(f"/payments?{query}").json_body["payments"]]

    assert listed("status=succeeded&provider=stripe") == subjects
    assert listed("status=failed") == []
    assert listed("provider=paypal") == []
    assert listed("since=2026-11-22T00:00:00Z&until=2026-11-23T23:00:00Z") == subjects[1:3]


def test_the_consumer_answers_as_lambda_reads_it(client: Client, daybook: Any) -> None:
    """Also where nothing failed."""
    sent = client.events.generate_sqs_event(message_bodies=[], queue_name="payment-events-local")
    assert client.lambda_.invoke("process", sent).payload == {"batchItemFailures": []}


def test_an_id_in_a_path_is_decoded_once(client: Client, daybook: Any, stage: Stage) -> None:
    """As a client writes one with a colon in it: neither API Gateway nor Chalice decodes it."""
    event = {
        "id": "evt_1",
        "type": "payment_intent.succeeded",
        "account": "acct_1",
        "data": {"object": {"object": "payment_intent", "id": "pi_1", "currency": "eur"}},
    }
    body = as_bytes(event)
    post(client, body, stripe_headers(body))
    drain(stage, daybook)
    for path in ("acct_1:pi_1", "acct_1%3Api_1", "acct_1%3api_1"):
        assert client.http.get(f"/payments/stripe/{path}").json_body["id"] == "stripe:acct_1:pi_1"
    assert client.http.get("/payments/stripe/acct_1%253Api_1").status_code == 404


def test_payments_are_listed_by_reference_and_customer(client: Client, daybook: Any, stage: Stage) -> None:
    """The newest first, in pages; with the other filters; `show` and the list name them too."""
    subjects = record_stories(client, daybook, stage, 5)
    found = {each["id"]: each for each in client.http.get("/payments?limit=100").json_body["payments"]}
    first = found[subjects[0]]

    def listed(query: str) -> list[str]:
        return [p["id"] for p in client.http.get(f"/payments?{query}").json_body["payments"]]

    assert first["reference"].startswith("order-")
    assert listed(f"reference={first['reference']}") == [subjects[0]]
    assert (
        listed(f"customer={first['customer']}")
        == listed(f"customer=stripe:{first['customer']}")
        == [subjects[0]]
    )
    both = f"reference={first['reference']}&customer={first['customer']}"
    assert listed(both) == [subjects[0]]
    assert listed(f"{both}&status=failed") == listed(f"{both}&since=2027-01-01") == []
    assert listed(f"reference={first['reference']}&customer=cus_other") == listed("reference=none") == []
    for n, subject in enumerate(subjects):
        stored = daybook._ledger().payment(subject)
        fields = {**stored.facts["payment"], "customer": [1, "one-customer"], "reference": [0, 1, "cart"]}
        daybook._ledger().save_payment(stored.with_facts({**stored.facts, "payment": fields}, n))
    for by in ("customer=one-customer", "reference=cart"):
        seen, cursor = [], ""
        while cursor is not None:
            page = client.http.get(f"/payments?{by}&limit=2{'&cursor=' + cursor if cursor else ''}").json_body
            seen += [payment["id"] for payment in page["payments"]]
            cursor = page["cursor"]
        assert seen == subjects


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=x",
        "since=x",
        "until=99999",
        "cursor=x",
        "cursor=eHg%3D",
        "x=1",
        "since=2026-11-24&until=2026-11-23",
        "since=2026-11-24&cursor=MjAyNi0xMS0yM34%3D",
    ],
)
def test_a_wrong_query_says_which_part(client: Client, query: str) -> None:
    """400, and the parameter's name."""
    response = client.http.get(f"/payments?{query}")
    assert (response.status_code, response.json_body["Code"]) == (400, "InvalidParameter")
    assert query.partition("=")[0] in response.json_body["Message"]


def test_logs_hold_no_payload_and_no_secret(
    client: Client, daybook: Any, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """One JSON line an outcome, with ids and types only."""
    record_stories(client, daybook, stage, 1)
    post(client, EVENT, {"Stripe-Signature": "t=1,v1=marked-signature"})
    printed = capsys.readouterr().out.splitlines()
    lines = [json.loads(line) for line in printed if not line.startswith("ship: ")]
    assert {line["message"] for line in lines} == {"accepted", "handled", "recorded", "refused"}
    for line in lines:
        assert line["message"] != "accepted" or {"event_id", "subject", "secret", "ms"} < set(line)
    text = json.dumps(lines)
    for mark in ("jenny", "Jenny", "marked-signature", "whsec", "v1="):
        assert mark not in text


@pytest.mark.parametrize("path", ["/payments", "/payments/stripe/pi_1"])
def test_stage_local_is_read_under_this_machines_name_only(client: Client, path: str) -> None:
    """Another name may be one that a page had rebound to 127.0.0.1; nobody is asked there who they are."""
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example:8000", "localhost.evil"):
        response = client.http.get(path, headers={"Host": host})
        assert (response.status_code, response.json_body["Code"]) == (403, "Forbidden")
    for host in ("127.0.0.1:8000", "localhost:8000", "localhost"):
        assert client.http.get(path, headers={"Host": host}).status_code in (200, 404)
    assert client.http.get("/health", headers={"Host": "tunnel.example"}).status_code == 200
    tunnel = {**stripe_headers(EVENT), "Host": "tunnel.example"}
    assert client.http.post("/webhooks/stripe", body=EVENT, headers=tunnel).status_code == 200


def test_a_placeholder_in_a_deployed_stage_verifies_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is as if no secret were there; the log says which one, and not what it is."""
    monkeypatch.setenv("DAYBOOK_STAGE", "dev")
    sys.modules.pop("app", None)
    app = importlib.import_module("app")
    trust = app._trust({"stripe_webhook_secrets": ("whsec_local", DEV_SECRET)})
    app._trust({"stripe_webhook_secrets": ("whsec_local", DEV_SECRET)})
    sys.modules.pop("app", None)
    assert trust.secrets == {"stripe_webhook_secrets": (DEV_SECRET,)}
    [line] = [json.loads(each) for each in capsys.readouterr().out.splitlines() if "credential" in each]
    assert (line["message"], line["credential"]) == ("credential refused", "stripe_webhook_secrets")
    assert line["secret"] == fingerprint("whsec_local")

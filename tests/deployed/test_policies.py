"""Least privilege: each function may do what it does, nothing beyond that, and what it must not is denied."""

import json
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from chalicelib.entries import Outbox
from chalicelib.inbox import Message
from chalicelib.ledger import Ledger
from chalicelib.providers import PROVIDERS
from chalicelib.reactions import Task
from chalicelib.times import DAY
from chalicelib.wakeups import Waiter, Wakeup
from ops.local.paypal import FakePayPal
from ops.local.runtime import Function, FunctionFailed
from ops.sender import PayPalSigner
from ops.stage import Stage
from ops.stories import tell
from tests.banks import StripeBank
from tests.conftest import ROOT, free_port
from tests.fake_apis import HOUR, FakeStripe, event_listed
from tests.fakes import NOW, MemoryInbox, an_event, as_bytes, consumer, message_of, sqs_record, write_of
from tests.packaged import (
    SCHEDULE,
    Functions,
    batch,
    now,
    paypal_request,
    request,
    stripe_request,
)
from tests.packaged import functions as running
from tests.proxy import Call, Proxy
from tests.simulators import StripeSimulator

ACCOUNT = "us-east-1:123456789012"
TABLE = f"arn:aws:dynamodb:{ACCOUNT}:table/payment-transactions-dev"
QUEUE = f"arn:aws:sqs:{ACCOUNT}:payment-events-dev.fifo"
DEAD = f"arn:aws:sqs:{ACCOUNT}:payment-events-dead-dev.fifo"
SECRET = f"arn:aws:secretsmanager:{ACCOUNT}:secret:daybook/dev-AbCdEf"
WAKES = f"arn:aws:sqs:{ACCOUNT}:payment-targets-dev"
BUS = f"arn:aws:events:{ACCOUNT}:event-bus/daybook-dev"


class Access(NamedTuple):
    """An action on a resource: of DynamoDB's with the partition key that is written, and the attributes."""

    action: str
    resource: str
    key: str = ""
    attributes: frozenset[str] = frozenset()


# ── a policy evaluator ──────────────────────────────────────────────────────────────────────────────


def statements(function: str, stage: str = "dev") -> list[dict[str, Any]]:
    """Those of Daybook: what a user grants to handlers has a Sid that begins with ``Own``."""
    path = ROOT / ".chalice" / f"policy-{stage}-{function}.json"
    found: list[dict[str, Any]] = json.loads(path.read_text())["Statement"]
    return [each for each in found if not each.get("Sid", "").startswith("Own")]


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value


def grants(statement: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each action with each resource of a statement."""
    for action in listed(statement["Action"]):
        for resource in listed(statement["Resource"]):
            yield action, resource


def allowed(function: str, access: Access) -> set[tuple[str, str]]:
    """The grants that allow it: none is a denial, as no policy here denies anything by itself."""
    return {
        (granted, pattern)
        for statement in statements(function)
        for granted, pattern in grants(statement)
        if fnmatchcase(access.action, granted)
        and fnmatchcase(access.resource, pattern)
        and _holds(statement.get("Condition", {}), access)
    }


def _holds(condition: dict[str, Any], access: Access) -> bool:
    """The conditions that are used here. Without ``Null`` one on nothing holds."""
    asked = {
        "dynamodb:LeadingKeys": {access.key} if access.key else set(),
        "dynamodb:Attributes": access.attributes,
    }
    assert set(condition) in (
        set(),
        {"ForAllValues:StringEquals", "Null"},
        {"ForAllValues:StringLike", "Null"},
    )
    equal, like = (condition.get(f"ForAllValues:String{how}", {}) for how in ("Equals", "Like"))
    assert condition.get("Null", {}) == dict.fromkeys({**equal, **like}, "false")
    are_equal = all(asked[name] and asked[name] <= {*granted} for name, granted in equal.items())
    return are_equal and all(
        asked[name] and all(any(fnmatchcase(each, one) for one in granted) for each in asked[name])
        for name, granted in like.items()
    )


# ── what each function asks for ─────────────────────────────────────────────────────────────────────


def accesses(call: Call) -> Iterator[Access]:
    """What IAM checks for a call: a transaction is the writes in it, a batch its single operation."""
    request = call.request
    if call.service == "dynamodb":
        yield from _table_accesses(call)
    elif call.service == "sqs":
        name = request.get("QueueName") or request["QueueUrl"].rpartition("/")[2]
        yield Access(f"sqs:{call.operation.removesuffix('Batch')}", f"arn:aws:sqs:{ACCOUNT}:{name}")
    elif call.service == "secretsmanager":
        arn = f"arn:aws:secretsmanager:{ACCOUNT}:secret:{request['SecretId']}-AbCdEf"
        yield Access(f"secretsmanager:{call.operation}", arn)
    else:
        assert call.service == "events", call
        named = [request["Name"]] if "Name" in request else [e["EventBusName"] for e in request["Entries"]]
        for name in named:
            bus = f"arn:aws:events:{ACCOUNT}:event-bus/{name}"
            yield Access(f"events:{call.operation}", bus)


def _table_accesses(call: Call) -> Iterator[Access]:
    if call.operation == "TransactWriteItems":
        for [(kind, write)] in (each.items() for each in call.request["TransactItems"]):
            yield from _table_accesses(Call("dynamodb", f"{kind}Item", write))
        return
    name = call.request.get("TableName") or next(iter(call.request["RequestItems"]))
    table = f"arn:aws:dynamodb:{ACCOUNT}:table/{name}"
    index = call.request.get("IndexName")
    written = call.request.get("Item") or call.request.get("Key") or {}
    asked = re.search(r"\bsubject = (:\w+)", call.request.get("KeyConditionExpression", ""))
    own = {"subject": call.request["ExpressionAttributeValues"][asked[1]]} if asked else written
    key = own.get("subject", {}).get("S", "")
    resource = f"{table}/index/{index}" if index else table
    yield Access(f"dynamodb:{call.operation}", resource, key, _attributes(call.request))


def _attributes(request: dict[str, Any]) -> frozenset[str]:
    """Those that a request names: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html"""
    of_table = next(iter(request.get("RequestItems", {"": {}}).values()))
    named = {**request, **of_table}
    text = " ".join(named.get(f"{kind}Expression", "") for kind in ("Update", "Condition", "Projection"))
    words = set(re.findall(r"(?<![:\w])#?[a-z]\w*", text)) - {
        "attribute_exists",
        "if_not_exists",
        "attribute_not_exists",
    }
    names = named.get("ExpressionAttributeNames", {})
    keys = [named.get("Key", {}), *named.get("Keys", []), named.get("Item", {})]
    return frozenset(names.get(word, word) for word in words) | {name for key in keys for name in key}


def platform(name: str, queue: str | None = None) -> set[Access]:
    """What Lambda itself asks for in the function's name: its logs and traces, and its queue."""
    logs = f"arn:aws:logs:{ACCOUNT}:log-group:/aws/lambda/{name}:log-stream:2026/11/25/1"
    own = {Access("logs:CreateLogStream", logs), Access("logs:PutLogEvents", logs)}
    own |= {Access("xray:PutTraceSegments", "*"), Access("xray:PutTelemetryRecords", "*")}
    taking = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
    return own | ({Access(action, queue) for action in taking} if queue else set())


class Work:
    """Every function of the package doing all of its work, and what it asked AWS for."""

    def __init__(self, functions: Functions, proxy: Proxy, dev: Stage, folder: Path) -> None:
        self._functions, self._proxy, self._dev, self._folder = functions, proxy, dev, folder
        self.asked: dict[str, set[Access]] = {}

    def _note(self, function: str) -> None:
        found = {access for call in self._proxy.calls for access in accesses(call)}
        self.asked[function] = self.asked.get(function, set()) | found
        self._proxy.calls.clear()

    def receive(self) -> None:
        api = self._functions.start("APIHandler")
        rng = random.Random(now())
        _, events = tell("stripe", rng, now(), 5000, "EUR", story="partial-refunds")
        _, [sale] = tell("paypal", rng, now(), 500, "JPY", type_="PAYMENT.CAPTURE.COMPLETED")
        webhooks = [stripe_request(as_bytes(each)) for each in events]
        for sent in (*webhooks, paypal_request(as_bytes(sale), self._dev)):
            assert api.invoke(sent)["statusCode"] == 200
        self._proxy.calls[:] = [
            call for call in self._proxy.calls if call.request.get("Item", {}).get("pem") is None
        ]  # the certificate that paypal_request kept by itself
        self._fetch_a_certificate()
        self._note("api_handler")

    def read(self) -> None:
        """Lists, those of a customer and of a reference, one payment, and one that there is not."""
        api = self._functions.start("APIHandler")
        found = self._dev.client("dynamodb").scan(
            TableName=self._dev.names.table, FilterExpression="attribute_exists(customer)"
        )
        customer, one = found["Items"][0]["customer"]["S"], "/payments/{provider}/{object_id}"
        by: list[dict[str, list[str]]] = [{}, {"customer": [customer]}, {"reference": ["order-1001"]}]
        for path, query in (*(("/payments", each) for each in by), (one, {})):
            sent = {
                **request("stripe", b"", {}),
                "requestContext": {"resourcePath": path, "httpMethod": "GET"},
                "httpMethod": "GET",
                "multiValueQueryStringParameters": query,
                "pathParameters": {"provider": "stripe", "object_id": "pi_unknown"},
            }
            assert api.invoke(sent)["statusCode"] in (200, 404)
        self._note("api_handler")

    def _fetch_a_certificate(self) -> None:
        """From a PayPal on loopback, which only stage local may be told to trust."""
        paypal = FakePayPal(free_port(), self._folder, datetime.now(UTC))
        paypal.start()
        (self._folder / "ca.pem").write_bytes(paypal.authority.pem)
        api = self._functions.start(
            "APIHandler",
            DAYBOOK_STAGE="local",
            PAYPAL_CERT_HOSTS=paypal.host,
            PAYPAL_CA_BUNDLE=str(self._folder / "ca.pem"),
        )
        _, [sale] = tell("paypal", random.Random(2), now(), 500, "JPY", type_="PAYMENT.CAPTURE.COMPLETED")
        signer = PayPalSigner(paypal.signer.key, paypal.cert_url, "LOCAL00000000001", random.Random(3))
        sent = request("paypal", as_bytes(sale), signer.headers(as_bytes(sale), now()))
        assert api.invoke(sent)["statusCode"] == 200, api.lines
        paypal.stop()

    def process(self) -> None:
        consumer = self._functions.start("Process", DAYBOOK_PARTIAL_BATCHES="false")  # it deletes, and raises
        while (records := batch(self._dev, "payment-events-dev.fifo"))["Records"]:
            consumer.invoke(records)
            for each in records["Records"]:
                each["attributes"]["ApproximateReceiveCount"] = "2"
            consumer.invoke(records)  # duplicates, delivered again after a failure
            poison = sqs_record("poison", "g")
            with pytest.raises(FunctionFailed, match="BatchFailed"):
                consumer.invoke({"Records": [records["Records"][0], poison]})
        self._process_a_record_of_older_rules(consumer)
        self._note("process")
        thin = {"id": "evt_thin", "object": "v2.core.event", "type": "v1.charge.updated"}
        about = {"id": "ch_1", "type": "charge", "url": "/v1/charges/ch_1"}
        api = self._functions.start("APIHandler")
        api.invoke(stripe_request(as_bytes({**thin, "related_object": about})))
        self._proxy.calls.clear()
        consumer.invoke(batch(self._dev, "payment-events-dev.fifo"))
        self._note("process")

    def _process_a_record_of_older_rules(self, consumer: Function) -> None:
        """It is folded anew from its events."""
        subject, events = tell("stripe", random.Random(8), now(), 5000, "EUR", story="checkout")
        api = self._functions.start("APIHandler")
        dynamodb = self._dev.client("dynamodb")
        for event in events[1:]:
            consumers = list(self._proxy.calls)
            api.invoke(stripe_request(as_bytes(event)))
            self._proxy.calls[:] = consumers
            consumer.invoke(batch(self._dev, "payment-events-dev.fifo"))
            dynamodb.update_item(
                TableName=self._dev.names.table,
                Key={"subject": {"S": subject}, "entry": {"S": "payment"}},
                UpdateExpression="SET facts = :facts REMOVE #rules",
                ExpressionAttributeNames={"#rules": "rules"},
                ExpressionAttributeValues={":facts": {"S": '{"payment": {"created_at": 1}}'}},
            )

    def park(self) -> None:
        _, [sale] = tell("paypal", random.Random(4), now(), 500, "JPY", type_="PAYMENT.CAPTURE.COMPLETED")
        body = as_bytes(sale)
        message = Message.of(PROVIDERS["paypal"].event(body, now()), body, "T")
        dead = [sqs_record(text, "g", receives=6) for text in ("poison", message.encode())]
        self._functions.start("Park").invoke({"Records": dead})
        self._note("park")

    def deliver(self) -> None:
        """What the consumer noted for two targets, and of a payment whose facts are in parts."""
        name = "DAYBOOK_TARGET_SHOP"
        hook = "https://127.0.0.1:9/hook payment.* stripe.charge.*"
        process = self._functions.start("Process", **{name: hook}, folder=None)
        _, events = tell("stripe", random.Random(6), now(), 5000, "EUR", story="checkout")
        api = self._functions.start("APIHandler")
        for each in events:
            api.invoke(stripe_request(as_bytes(each)))
        self._proxy.calls.clear()
        process.invoke(batch(self._dev, "payment-events-dev.fifo"))
        self._note("process")
        rng = random.Random(1)
        related = [f"refund re_{rng.randbytes(20).hex()}" for _ in range(12_000)]
        ledger, event = self._dev.ledger(), an_event("evt_large", "stripe:pi_large")
        outbox = Outbox("stripe:pi_large", "payment", 1)
        ledger.save(write_of(event, b"{}", outbox, {"payment": {"created_at": 1, "related": related}}))
        waiter = Waiter("stripe:pi_large", "shop")
        ledger.undelivered.add(waiter, Task(id="stripe:pi_large/x", type="x"), now())
        self._dev.wakeups().send(Wakeup(*waiter))
        self._proxy.calls.clear()
        self._functions.start("Deliver", **{name: hook}, folder=None).invoke(
            batch(self._dev, "payment-targets-dev")
        )
        self._note("deliver")

    def watch(self) -> None:
        ledger = Ledger(self._dev.aws(), self._dev.names.table, bodies_expire=True, shards=2)
        old = an_event("evt_old", "stripe:evt_old", created_at=0, received_at=now() - 9 * DAY)
        ledger.save(write_of(old, b"{}", Outbox(old.subject, "event:evt_old", 1)))
        waiter = Waiter("stripe:pi_waits", "gone")
        ledger.undelivered.add(waiter, Task(id="stripe:pi_waits/x", type="x"), now() - 2 * HOUR)
        self._functions.start("Watch", DAYBOOK_KEEP_BODIES="1").invoke(SCHEDULE)
        self._note("watch")

    def reconcile(self) -> None:
        """With an event that Stripe lists and that never came, and a payout whose parts are asked for."""
        secrets = self._dev.client("secretsmanager")
        before = secrets.get_secret_value(SecretId="daybook/dev")["SecretString"]
        keyed = {**json.loads(before), "stripe_api_key": ["rk_test"]}
        secrets.put_secret_value(SecretId="daybook/dev", SecretString=json.dumps(keyed))
        bank = StripeBank()
        simulator = StripeSimulator(1, start=now() // 1000 - 20 * 86_400)
        simulator.succeed()
        bank.add(simulator)
        bank.pay_out(now() // 1000 - 5 * 86_400)
        for each in bank.events:
            consumer(self._dev.ledger(), MemoryInbox()).record(message_of(as_bytes(each)), NOW + 60_000)
        with FakeStripe([event_listed("evt_lost", now() - HOUR)], bank) as api:
            self._functions.start("Reconcile", STRIPE_API=api.address).invoke(SCHEDULE)
        self._note("reconcile")
        secrets.put_secret_value(SecretId="daybook/dev", SecretString=before)
        batch(self._dev, "payment-events-dev.fifo")


@pytest.fixture(scope="module")
def asked(
    bundle: Path, template: dict[str, Any], dev: Stage, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, set[Access]]:
    """By function: what it and Lambda ask for in its name."""
    with Proxy(str(dev.endpoint)) as proxy, running(bundle, template, proxy.address) as functions:
        work = Work(functions, proxy, dev, tmp_path_factory.mktemp("paypal"))
        work.receive()
        work.process()
        work.read()
        work.park()
        work.deliver()
        work.watch()
        work.reconcile()
    queues = {"process": QUEUE, "park": DEAD, "deliver": WAKES}
    return {
        name: found
        | platform("daybook-dev" + ("" if name == "api_handler" else f"-{name}"), queues.get(name))
        for name, found in work.asked.items()
    }


FUNCTIONS = ["api_handler", "process", "park", "deliver", "watch", "reconcile"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_all_that_a_function_asks_for_is_allowed(asked: dict[str, set[Access]], function: str) -> None:
    """By its own policy."""
    assert asked[function]
    assert [access for access in asked[function] if not allowed(function, access)] == []


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nothing_in_a_policy_is_unused(asked: dict[str, set[Access]], function: str) -> None:
    """Each action on each resource that it grants is asked for."""
    used = {grant for access in asked[function] for grant in allowed(function, access)}
    granted = {grant for statement in statements(function) for grant in grants(statement)}
    assert granted - used == set()


OTHER_SECRETS = [
    f"arn:aws:secretsmanager:{ACCOUNT}:secret:{name}"
    for name in ("daybook/prod-AbCdEf", "daybook/dev-eu-AbCdEf")
]
NO_BUSINESS: dict[str, list[tuple[Any, ...]]] = {
    "api_handler": [
        ("dynamodb:DeleteItem", TABLE, "stripe:pi_1"),
        ("dynamodb:UpdateItem", TABLE, "stripe:pi_1"),
        ("dynamodb:PutItem", TABLE, "stripe:pi_1"),
        ("dynamodb:BatchWriteItem", TABLE, "certificate"),
        ("dynamodb:Scan", TABLE, ""),
        ("sqs:ReceiveMessage", QUEUE, ""),
        ("sqs:DeleteMessage", QUEUE, ""),
        ("sqs:PurgeQueue", QUEUE, ""),
        ("sqs:SendMessage", DEAD, ""),
        ("events:PutEvents", BUS, ""),
    ],
    "process": [
        ("dynamodb:Scan", TABLE, ""),
        ("dynamodb:Query", f"{TABLE}/index/by-day", ""),
        ("sqs:SendMessage", QUEUE, ""),
        ("sqs:ReceiveMessage", DEAD, ""),
        ("events:PutEvents", f"arn:aws:events:{ACCOUNT}:event-bus/default", ""),
        ("events:PutRule", BUS, ""),
    ],
    "park": [
        ("dynamodb:DeleteItem", TABLE, "stripe:pi_1"),
        ("dynamodb:PutItem", TABLE, "stripe:pi_1"),
        ("dynamodb:GetItem", TABLE, "stripe:pi_1"),
        ("dynamodb:UpdateItem", TABLE, "stripe:pi_1"),
        ("dynamodb:UpdateItem", TABLE, "stripe:pi_1", frozenset({"facts"})),
        ("dynamodb:UpdateItem", TABLE, "transmission:T", frozenset({"digest"})),
        ("dynamodb:BatchGetItem", TABLE, ""),
        ("dynamodb:BatchGetItem", TABLE, "", frozenset({"body"})),
        ("sqs:ReceiveMessage", QUEUE, ""),
        ("secretsmanager:GetSecretValue", SECRET, ""),
        ("events:PutEvents", BUS, ""),
    ],
    "deliver": [
        ("dynamodb:DeleteItem", TABLE, "stripe:pi_1"),
        ("dynamodb:UpdateItem", TABLE, "stripe:pi_1"),
        ("dynamodb:PutItem", TABLE, "stripe:pi_1"),
        ("dynamodb:PutItem", TABLE, "stripe:pi_1", frozenset({"subject", "entry", "facts"})),
        ("dynamodb:PutItem", TABLE, "stripe:pi_1", frozenset({"subject", "entry", "body"})),
        ("dynamodb:Query", TABLE, "stripe:pi_1"),
        ("dynamodb:Scan", TABLE, ""),
        ("sqs:ReceiveMessage", QUEUE, ""),
        ("sqs:SendMessage", QUEUE, ""),
        ("sqs:SendMessage", f"arn:aws:sqs:{ACCOUNT}:books.fifo", ""),
        ("events:PutEvents", BUS, ""),
    ],
    "reconcile": [
        ("dynamodb:PutItem", TABLE, "stripe:pi_1"),
        ("dynamodb:PutItem", TABLE, "stripe:po_1"),
        ("dynamodb:DeleteItem", TABLE, "checkpoint"),
        ("dynamodb:DeleteItem", TABLE, "made-of:stripe:po_1"),
        ("dynamodb:Scan", TABLE, ""),
        ("sqs:ReceiveMessage", QUEUE, ""),
        ("sqs:SendMessage", DEAD, ""),
        ("events:PutEvents", BUS, ""),
    ],
    "watch": [
        ("dynamodb:UpdateItem", TABLE, "stripe:pi_1"),
        ("dynamodb:UpdateItem", TABLE, "stripe:pi_1", frozenset({"version", "entry", "subject"})),
        ("dynamodb:GetItem", TABLE, "stripe:pi_1"),
        ("dynamodb:PutItem", TABLE, "stripe:pi_1"),
        ("sqs:ReceiveMessage", QUEUE, ""),
        ("secretsmanager:GetSecretValue", SECRET, ""),
    ],
}
NOBODYS_BUSINESS: list[tuple[Any, ...]] = [
    *(("secretsmanager:GetSecretValue", other, "") for other in OTHER_SECRETS),
    ("secretsmanager:PutSecretValue", SECRET, ""),
    ("dynamodb:DeleteTable", TABLE, ""),
    ("dynamodb:PutItem", TABLE.replace("-dev", "-prod"), "certificate"),
    ("dynamodb:GetItem", TABLE.replace("-dev", "-dev2"), "stripe:pi_1"),
    ("sqs:DeleteMessage", QUEUE.replace("-dev", "-prod"), ""),
    ("logs:CreateLogGroup", f"arn:aws:logs:{ACCOUNT}:log-group:/aws/lambda/daybook-dev", ""),
    ("logs:PutLogEvents", f"arn:aws:logs:{ACCOUNT}:log-group:/aws/lambda/other:log-stream:1", ""),
    ("iam:PassRole", "*", ""),
    ("lambda:InvokeFunction", "*", ""),
    ("kms:Decrypt", "*", ""),
    ("s3:GetObject", "arn:aws:s3:::bucket/key", ""),
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_a_function_has_no_business_with_is_denied(function: str) -> None:
    """Other functions' work, other stages' data, and what nobody needs."""
    for access in (*NO_BUSINESS[function], *NOBODYS_BUSINESS):
        assert not allowed(function, Access(*access)), access


@pytest.mark.parametrize("function", FUNCTIONS)
def test_policies_name_actions_and_resources(function: str) -> None:
    """No action has a wildcard; only X-Ray's calls, which know no resources, have every resource."""
    for statement in statements(function):
        assert statement["Effect"] == "Allow"
        for action, resource in grants(statement):
            assert "*" not in action
            assert (resource == "*") == action.startswith("xray:")


@pytest.mark.parametrize("partition", ["aws-us-gov", "aws-cn", "aws-eusc", "aws-iso"])
def test_policies_hold_in_every_partition(partition: str) -> None:
    """GovCloud, China and the sovereign clouds have ARNs of their own."""
    table, queue = (arn.replace("arn:aws:", f"arn:{partition}:") for arn in (TABLE, QUEUE))
    assert allowed("process", Access("dynamodb:Query", table, "stripe:pi_1"))
    assert allowed("api_handler", Access("sqs:SendMessage", queue))
    assert not allowed("api_handler", Access("sqs:SendMessage", queue.replace("-dev", "-prod")))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_all_stages_have_the_same_policies_but_for_their_names(function: str) -> None:
    """What is shown here of dev holds for prod."""
    dev, prod = (json.dumps(statements(function, stage)) for stage in ("dev", "prod"))
    assert prod == dev.replace("-dev", "-prod").replace("/dev", "/prod")


def test_each_function_of_each_stage_has_its_own_policy() -> None:
    """In the configuration, next to its own size and time."""
    config = json.loads((ROOT / ".chalice" / "config.json").read_text())
    assert config["autogen_policy"] is False
    for stage in ("dev", "prod"):
        functions = config["stages"][stage]["lambda_functions"]
        assert list(functions) == FUNCTIONS
        for name, function in functions.items():
            assert function["iam_policy_file"] == f"policy-{stage}-{name}.json"
            assert {"lambda_memory_size", "lambda_timeout"} < set(function)
        values = " ".join(config["stages"][stage]["environment_variables"].values())
        assert "whsec" not in values
        assert "sk_" not in values

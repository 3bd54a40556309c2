"""Daybook on AWS Chalice: the routes, the queues' consumers, and the wiring. Nothing happens at import."""

import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from chalice.app import Chalice, CloudWatchEvent, IAMAuthorizer, Rate, Response, SQSEvent

from chalicelib import access, accounts, beginning, listing, retention, settings, several
from chalicelib import reconcile as reconciling
from chalicelib import watch as watching
from chalicelib.accounts import Secrets, fingerprint
from chalicelib.asking import Asking
from chalicelib.aws import Aws, Keys, keys_of
from chalicelib.breaker import CircuitBreaker
from chalicelib.budget import Budget
from chalicelib.bus import EventBus, handlers_of
from chalicelib.contents import Contents
from chalicelib.credentials import (
    Credentials,
    FixedCredentials,
    SecretsManagerCredentials,
    refused,
    usable,
)
from chalicelib.errors import Forbidden, InvalidPayload, Refused, Unavailable
from chalicelib.events import Delivery
from chalicelib.explaining import Explanation
from chalicelib.inbox import Inbox
from chalicelib.ledger import Ledger
from chalicelib.noting import Noting
from chalicelib.providers import PROVIDERS
from chalicelib.providers.protocol import (
    Connection,
    Postback,
    PostbackProvider,
    ProviderApi,
    Trust,
    api_of,
)
from chalicelib.questions import IN_VAIN, Questions
from chalicelib.recording import Consumer
from chalicelib.telemetry import Telemetry, stdout
from chalicelib.wakeups import Wakeups
from chalicelib.webhooks import Receiver

if TYPE_CHECKING:
    from chalicelib.delivering import Deliverer

SETTINGS = settings.read(os.environ)
RETRY_AFTER = "30"  # seconds
Known = tuple[tuple[str, tuple[str, ...]], ...]  # secrets, as a key of what is made with them
NO_AWS = "stage local needs AWS: `make run` starts all of it, or set AWS_ENDPOINT_URL to an emulator"
THIS_MACHINE = ("127.0.0.1", "localhost")
# Milliseconds before its time is up that hourly work stops; a page may have to be waited for.
WATCH_ENDS, RECONCILE_ENDS = 5_000, 90_000

app = Chalice(app_name="daybook")
iam = IAMAuthorizer()


# ── routes ──────────────────────────────────────────────────────────────────────────────────────────


@app.route("/webhooks/{provider}", methods=["POST"], content_types=[])
def webhook(provider: str) -> Response:
    known = provider if provider in PROVIDERS else "unknown"
    return _answer(lambda: _receiver().receive(provider, _delivery()), known)


@app.route("/payments", methods=["GET"], authorizer=iam)
def payments() -> Response:
    parameters = dict(_request().query_params or {})
    return _answer(lambda: _read(lambda: listing.payments(_ledger(), listing.parse(parameters))))


@app.route("/payments/{provider}/{object_id}", methods=["GET"], authorizer=iam)
def payment(provider: str, object_id: str) -> Response:
    # neither API Gateway's REST API nor Chalice decodes what is in a path
    id_ = unquote(object_id)
    return _answer(lambda: _read(lambda: listing.payment(_ledger(), provider, id_)))


@app.route("/subscriptions", methods=["GET"], authorizer=iam)
def subscriptions() -> Response:
    parameters = dict(_request().query_params or {})

    def found() -> Mapping[str, Any]:
        instant = listing.instant(parameters, "at", _now())
        query = listing.parse({name: each for name, each in parameters.items() if name != "at"})
        return access.subscriptions(_ledger(), query, instant, SETTINGS.terms)

    return _answer(lambda: _read(found))


@app.route("/subscriptions/{provider}/{object_id}", methods=["GET"], authorizer=iam)
def subscription(provider: str, object_id: str) -> Response:
    at = dict(_request().query_params or {})
    id_ = unquote(object_id)

    def found() -> Mapping[str, Any]:
        instant = listing.instant(at, "at", _now())
        return access.subscription(_ledger(), provider, id_, instant, SETTINGS.terms)

    return _answer(lambda: _read(found))


@app.route("/access", methods=["GET"], authorizer=iam)
def has_access() -> Response:
    parameters = dict(_request().query_params or {})
    return _answer(
        lambda: _read(lambda: access.answer(_ledger(), access.parse(parameters, _now()), SETTINGS.terms))
    )


def _read(act: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """What ``act`` returns. Raises ``Forbidden`` in stage local for any name but this machine's.

    Nobody is asked there who they are: a page whose name was rebound to 127.0.0.1 could read payments.
    """
    host = str(_request().headers.get("host", ""))
    if SETTINGS.is_local and host and host.partition(":")[0] not in THIS_MACHINE:
        raise Forbidden("payments are read from this machine only")
    return act()


@app.route("/health", methods=["GET"])
def health() -> dict[str, str]:
    return {"status": "ok"}


def _answer(act: Callable[[], Mapping[str, Any]], provider: str | None = None) -> Response:
    """What ``act`` returns as JSON, or the refusal that it raised. Nothing else may reach the caller.

    With ``provider`` it is a webhook.
    """
    began = _now()
    _telemetry().begin(_request_id(app.lambda_context))
    try:
        return Response(act())
    except Refused as answer:
        return _refusal(answer, began, provider)
    except Exception as error:
        _telemetry().log("request failed", "ERROR", error=type(error).__name__, provider=provider)
        return _refusal(Unavailable("try again later", reason=type(error).__name__), began, provider)


def _request_id(context: Any) -> str:
    return str(getattr(context, "aws_request_id", "") or "-")


def _refusal(why: Refused, began: int, provider: str | None) -> Response:
    fails = why.status >= 500
    _telemetry().log(
        "refused",
        "ERROR" if fails else "INFO",
        {"received": 1, "refused": 1} if provider else None,
        code=why.code,
        reason=why.reason,
        provider=provider,
        hint=NO_AWS if fails and SETTINGS.is_local and not SETTINGS.aws_endpoint else None,
        ms=_now() - began,
    )
    return Response(
        {"Code": why.code, "Message": str(why)},
        status_code=why.status,
        headers={"Retry-After": RETRY_AFTER} if isinstance(why, Unavailable) else {},
    )


def _request() -> Any:
    return app.current_request


def _delivery() -> Delivery:
    request = _request()
    headers = {str(name).lower(): str(value) for name, value in request.headers.items()}
    try:
        body = request.raw_body
    except ValueError:
        raise InvalidPayload("the body is not base64") from None
    host, path = headers.get("host", ""), request.context.get("path", "")
    return Delivery(headers, body, _now(), f"https://{host}{path}")


# ── queues ──────────────────────────────────────────────────────────────────────────────────────────


@app.on_sqs_message(queue=SETTINGS.names.queue, batch_size=10, maximum_concurrency=SETTINGS.consumers)
def process(event: SQSEvent) -> dict[str, Any]:
    """What failed, as Lambda reads it where the mapping reports it.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """
    again = _consumer().process(event.to_dict()["Records"], _begun(event))
    return {"batchItemFailures": [{"itemIdentifier": each} for each in again]}


def _begun(event: Any) -> int:
    """When an invocation that has just begun may be ended, in milliseconds."""
    context: Any = event.context
    _telemetry().begin(_request_id(context))
    return int(_now() + context.get_remaining_time_in_millis())


@app.on_sqs_message(queue=SETTINGS.names.dead_queue, batch_size=10)
def park(event: SQSEvent) -> None:
    _begun(event)
    _consumer().park(event.to_dict()["Records"], _now())


@app.on_sqs_message(
    queue=SETTINGS.names.targets_queue, batch_size=10, maximum_concurrency=settings.DELIVERERS
)
def deliver(event: SQSEvent) -> None:
    until = _begun(event)
    _deliverer().process(event.to_dict()["Records"], until)


# ── schedule ────────────────────────────────────────────────────────────────────────────────────────


@app.schedule(Rate(1, unit=Rate.HOURS))
def watch(event: CloudWatchEvent) -> None:
    deadline = _begun(event) - WATCH_ENDS
    watching.watch(_ledger(), _telemetry(), _now())
    if SETTINGS.event_bus:
        watching.watch_bus(EventBus(_aws(), SETTINGS.event_bus), _telemetry())
    if SETTINGS.keep_bodies is not None:
        retention.expire(_ledger(), SETTINGS.keep_bodies, _now(), lambda: _now() < deadline)
    watching.watch_targets(_ledger(), _wakeups(), _telemetry(), _now(), lambda: _now() < deadline)


@app.schedule(Rate(1, unit=Rate.HOURS))
def reconcile(event: CloudWatchEvent) -> None:
    deadline = _begun(event) - RECONCILE_ENDS
    listings = _listings(_credentials().current())
    apis = several.asked(listings)
    reconciling.watched(_reconciler(), listings, deadline)
    asking = Asking(
        providers=PROVIDERS,
        apis=apis,
        ledger=_ledger(),
        inbox=_inbox(),
        telemetry=_telemetry(),
        terms=SETTINGS.terms,
    )
    asking.run(_now())
    asking.look(_now(), lambda: _now() < deadline)
    reconciling.read_balances(_reconciler(), listings, deadline)
    contents = Contents(
        providers=PROVIDERS,
        apis=apis,
        ledger=_ledger(),
        inbox=_inbox(),
        telemetry=_telemetry(),
    )
    contents.run(_now(), lambda: _now() < deadline)


# ── wiring: each thing is made when it is first needed, and once ────────────────────────────────────


def _now() -> int:
    """Milliseconds since 1970: the one place where time enters."""
    return time.time_ns() // 1_000_000


@cache
def _aws() -> Aws:
    return Aws(SETTINGS.region, _keys(), SETTINGS.aws_endpoint, time.sleep, random.uniform)


def _keys() -> Callable[[], Keys]:
    """The function's own access key; elsewhere the one that botocore finds, and renews where it expires."""
    if SETTINGS.access_key is not None:
        given = Keys(*SETTINGS.access_key)
        return lambda: given
    from botocore.session import get_session

    return keys_of(get_session().get_credentials())


@cache
def _telemetry() -> Telemetry:
    return Telemetry(SETTINGS.stage, _now, stdout, SETTINGS.metrics, _trace, SETTINGS.log_level)


def _trace() -> str:
    """The trace of this invocation, as Lambda tells its function anew each time; elsewhere there is none."""
    return os.environ.get("_X_AMZN_TRACE_ID", "")


@cache
def _ledger() -> Ledger:
    return Ledger(
        _aws(), SETTINGS.names.table, bodies_expire=SETTINGS.keep_bodies is not None, shards=SETTINGS.shards
    )


@cache
def _inbox() -> Inbox:
    return Inbox(_aws(), SETTINGS.names.queue)


@cache
def _credentials() -> Credentials:
    if SETTINGS.is_local:
        return FixedCredentials(SETTINGS.local_credentials)
    return SecretsManagerCredentials(_aws(), SETTINGS.names.secret, _now, _aws().failing_fast)


@cache
def _receiver() -> Receiver:
    return Receiver(
        providers=PROVIDERS,
        credentials=_credentials(),
        trust=_trust,
        inbox=_inbox(),
        telemetry=_telemetry(),
        livemode=SETTINGS.livemode,
    )


@cache
def _consumer() -> Consumer:
    return Consumer(
        providers=PROVIDERS,
        ledger=_ledger(),
        inbox=_inbox(),
        telemetry=_telemetry(),
        handlers=handlers_of(SETTINGS, _aws, _noting),
        clock=_now,
        complete=_questions().complete,
        labels=SETTINGS.labels,
        terms=SETTINGS.terms,
        began=_began,
        partial_batches=SETTINGS.partial_batches,
        patient=_aws().patient,
        explain=Explanation(SETTINGS.log_messages or SETTINGS.is_local, _show if SETTINGS.is_local else None),
    )


def _show(text: str) -> None:
    """A traceback, for the person in front of `make run`."""
    sys.stderr.write(text)
    sys.stderr.flush()


@cache
def _wakeups() -> Wakeups:
    return Wakeups(_aws(), SETTINGS.names.targets_queue)


def _noting() -> Noting:
    return Noting(ledger=_ledger(), wakeups=_wakeups(), clock=_now)


@cache
def _deliverer() -> "Deliverer":
    """What it needs is imported where something is sent: not to receive a webhook."""
    from chalicelib import senders
    from chalicelib.delivering import Deliverer, Rests
    from chalicelib.posting import Poster

    poster = Poster(is_local=SETTINGS.is_local)
    return Deliverer(
        targets={each.name: each for each in SETTINGS.targets},
        senders=senders.by_kind(
            _aws(), SETTINGS.region, _credentials().current, poster, _now, SETTINGS.is_local
        ),
        ledger=_ledger(),
        wakeups=_wakeups(),
        read=_consumer().runner.read,
        telemetry=_telemetry(),
        rests=Rests(_now),
        clock=_now,
        uniform=random.uniform,
    )


@cache
def _began() -> int:
    """Read once a process: it does not change."""
    return beginning.began(_ledger(), _now())


@cache
def _questions() -> Questions:
    return Questions(
        providers=PROVIDERS,
        api=lambda name, account: _api(name, account or accounts.OWN, _known(_credentials().current())),
        ledger=_ledger(),
        telemetry=_telemetry(),
        breaker=CircuitBreaker(_now),
        budget=_budget,
        clock=_now,
    )


@cache
def _budget(place: str) -> Budget:
    """Of a provider's account."""
    return Budget(_now, IN_VAIN)


def _known(secrets: Secrets) -> Known:
    return tuple(sorted(secrets.items()))


def _connection(secrets: Secrets) -> Connection:
    return Connection(secrets, SETTINGS.apis, _now, SETTINGS.ca_bundle)


@cache
def _api(provider: str, account: str, secrets: Known) -> ProviderApi | None:
    return api_of(PROVIDERS[provider], _connection(accounts.of_account(dict(secrets), account)))


@cache
def _postback(secrets: Known) -> Postback | None:
    """Each account's is asked about what was signed for its webhooks."""
    provider = next((each for each in PROVIDERS.values() if isinstance(each, PostbackProvider)), None)
    if provider is None:
        return None
    of = {name: accounts.of_account(dict(secrets), name) for name in accounts.accounts(dict(secrets))}
    made = {name: provider.postback(_connection(credentials)) for name, credentials in of.items()}
    by_webhook_id = {id_: made[name] for name in made for id_ in of[name].get("paypal_webhook_ids", ())}
    return several.Postbacks(made[accounts.OWN], by_webhook_id)


def _reconciler() -> reconciling.Reconciler:
    return reconciling.Reconciler(
        providers=PROVIDERS,
        ledger=_ledger(),
        inbox=_inbox(),
        telemetry=_telemetry(),
        clock=_now,
        pause=time.sleep,
        livemode=SETTINGS.livemode,
        began=_began,
    )


def _listings(secrets: Secrets) -> dict[str, ProviderApi]:
    """The APIs of those providers' accounts whose keys are set."""
    apis = {key: _api(name, of, _known(secrets)) for key, name, of in accounts.each_key(PROVIDERS, secrets)}
    return {key: api for key, api in apis.items() if api}


def _trust(secrets: Secrets) -> Trust:
    hosts = secrets.get("paypal_cert_hosts") or settings.CERT_HOSTS
    postback = _postback(_known(secrets)) if SETTINGS.paypal_verification == "postback" else None
    return Trust(_usable(_known(secrets)), PinnedCertificates(hosts), postback)


@cache
def _usable(known: Known) -> Secrets:
    """All accounts', together.

    Said once of each value that is refused: a webhook that is signed with it looks like a wrong secret.
    """
    secrets = dict(known)
    for name, value in () if SETTINGS.is_local else refused(secrets):
        _telemetry().log("credential refused", "ERROR", credential=name, secret=fingerprint(value))
    return accounts.together(usable(secrets, SETTINGS.is_local))


class PinnedCertificates:
    """PayPal's certificates from those hosts; what they need is imported when one is first asked for."""

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self._hosts = hosts

    def key(self, url: str) -> Any:
        return _certificates(self._hosts).key(url)


@cache
def _certificates(hosts: tuple[str, ...]) -> Any:
    from chalicelib.certificates import SigningCertificates, fetcher

    chain = SETTINGS.paypal_trust == "chain"
    anchors = Path(SETTINGS.paypal_chain or "").read_bytes() if chain else None
    return SigningCertificates(fetcher(SETTINGS.ca_bundle), _ledger().certificates, _now, hosts, anchors)


# ── warm-up ─────────────────────────────────────────────────────────────────────────────────────────


def warm_up() -> None:
    """Read the credentials, find the queue and connect to it, before the first webhook waits for it.

    What fails here is tried again by the webhook, which has an answer for it.
    """
    try:
        with _aws().failing_fast():
            _credentials().current()
            _inbox().url()
    except Exception as error:
        _telemetry().log("not warmed up", "WARNING", error=type(error).__name__)


if "AWS_CHALICE_CLI_MODE" in os.environ:  # Chalice's own commands, on a person's machine
    from ops import before_deploy

    before_deploy.check(sys.argv, os.environ)

if SETTINGS.receives:  # in Lambda's init phase, where the processor is not throttled
    warm_up()

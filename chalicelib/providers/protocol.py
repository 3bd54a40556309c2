"""What a provider's module offers, and what it may ask for."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from chalicelib.errors import NotConfigured
from chalicelib.events import Delivery, Event
from chalicelib.made_of import Part
from chalicelib.payments import Facts, Payment


class PublicKey(Protocol):
    def signed(self, signature: bytes, text: bytes) -> bool:
        """Whether ``signature`` is this key's RSA PKCS#1 v1.5 signature of ``text`` with SHA-256."""


class Certificates(Protocol):
    def key(self, url: str) -> PublicKey:
        """The key of the trusted certificate at ``url``. Raises ``InvalidSignature``, ``Unavailable``."""


class Postback(Protocol):
    def confirms(self, transmission: Mapping[str, str], body: bytes, webhook_id: str) -> bool:
        """Whether the provider itself says that it sent this. Raises ``Unavailable``."""


class Proof(NamedTuple):
    """That a delivery is genuine: by which secret; and an id that is good for one body, if there is."""

    secret: str
    transmission: str | None = None


@dataclass(frozen=True, slots=True)
class Trust:
    """All that a delivery is verified with. ``secrets`` holds the stage's credentials by name."""

    secrets: Mapping[str, tuple[str, ...]]
    certificates: Certificates
    postback: Postback | None = None

    def required(self, name: str) -> tuple[str, ...]:
        """The credentials of that name. Raises ``NotConfigured`` if there are none."""
        values = self.secrets.get(name, ())
        if not values:
            raise NotConfigured("this endpoint is not configured", reason=f"no_{name}")
        return values


class Page(NamedTuple):
    """Events as JSON, and where to go on; ``None`` on the last page."""

    bodies: list[bytes]
    next: str | None


class Expected(NamedTuple):
    """Of a kind of history: how many objects there are, by how many questions they are had, and from which
    instant on (milliseconds) the provider lists any. ``is_exact``: they were counted."""

    objects: int
    is_exact: bool
    questions: int
    since: int


class Contents(NamedTuple):
    """Some of what a payout is made of, and where to go on; ``None`` on the last page."""

    parts: list[Part]
    next: str | None


class Difference(NamedTuple):
    """A figure of a payment that differs: its name, ours, the provider's."""

    name: str
    ours: object
    theirs: object


class Notice(NamedTuple):
    """What was found of how the provider is set up, and what to do where it is not well.

    ``is_broken``: nothing comes that way; else, with a remedy, some things may not.
    """

    found: str
    remedy: str = ""
    is_broken: bool = False


class AskedApi(Protocol):
    """What a provider's own API is asked about what is recorded, and about how it is set up."""

    def differences(self, ours: Payment) -> list[Difference] | None:
        """How the provider shows that payment otherwise; ``None`` where it cannot be asked about it.

        Raises ``NotFound`` if the provider does not know it, ``Unavailable``.
        """

    def shown(self, ours: Payment) -> list[bytes]:
        """What the provider shows of that payment now, as bodies of events of our own making.

        Empty where it cannot be asked about it. Raises ``NotFound``, ``Unavailable``.
        """

    def subscription(self, subject: str) -> list[bytes]:
        """What the provider shows of that subscription now, as bodies of events of our own making.

        Raises ``NotFound``, ``Unavailable``.
        """

    def endpoints(self) -> list[Notice]:
        """The webhook endpoints that the provider has for us. Raises ``Unavailable``."""


class ProviderApi(AskedApi, Protocol):
    """A provider's own API, where there are credentials for it: one account's."""

    def complete(self, event: Event) -> Event:
        """The event with what its body leaves out, once the provider shows no contradiction.

        Raises ``Distrusted``, ``Unavailable``.
        """

    def page(self, since: int, until: int, cursor: str | None) -> Page:
        """Events created in that time (milliseconds), newest first. Raises ``Throttled``, ``Unavailable``."""

    def balance(self, since: int, until: int, cursor: str | None) -> Page:
        """What moved on the provider's balance in that time (milliseconds), newest first, as bodies of events
        of our own making, each with the id of what it shows. Raises ``Throttled``, ``Unavailable``.
        """


@runtime_checkable
class HistoryApi(ProviderApi, Protocol):
    """One that lists what there is from before a stage began, kind by kind."""

    def kinds(self) -> Iterable[str]:
        """What there is to list, in the order in which it is to be."""

    def history(self, kind: str, since: int, until: int, cursor: str | None) -> Page:
        """A page of that kind's objects of a time, each as the body of an event of our own.

        Raises ``Throttled``, ``Unavailable``.
        """

    def expected(self, kind: str, since: int, until: int) -> Expected:
        """By a few questions. Raises ``Throttled``, ``Unavailable``."""


@runtime_checkable
class PayoutApi(AskedApi, Protocol):
    """One that says what a payout is made of."""

    def contents(self, payout: str, cursor: str | None) -> Contents | None:
        """A page of what a payout is made of; ``None`` while, or where, the provider does not say it.

        Raises ``NotFound``, ``Unavailable``.
        """

    def payout(self, payout: str, sums: list[list[Any]]) -> bytes:
        """What the provider shows of it now, as the body of an event of our own making; and that it is made
        of ``sums``: ``[kind, count, gross, fee, net]`` of each kind.

        Raises ``NotFound``, ``Unavailable``.
        """


@dataclass(frozen=True, slots=True)
class Connection:
    """What a provider's API is reached with. ``addresses`` by provider; ``clock`` in milliseconds.

    ``ca_bundle`` is a file of PEM, in place of the usual authorities.
    """

    secrets: Mapping[str, tuple[str, ...]]
    addresses: Mapping[str, str]
    clock: Callable[[], int]
    ca_bundle: str | None = None

    def address(self, provider: str) -> str:
        return self.addresses[provider]


class Provider(Protocol):
    """What a provider's module offers. All of it is pure but for what ``Trust`` carries."""

    NAME: str

    def verify(self, delivery: Delivery, trust: Trust) -> Proof:
        """Return if the delivery is genuine.

        Raises ``InvalidSignature``, ``NotConfigured``, ``Unavailable``.
        """

    def event(self, body: bytes, received_at: int) -> Event:
        """The event in a genuine body, and its subject. Raises ``InvalidPayload``."""

    def facts(self, event: Event) -> Mapping[str, Facts]:
        """What the event proves, by the subject of the payment that it proves it of; often of none.

        Raises ``ValueError``, ``InvalidPayload`` where it cannot be understood; it is recorded all the same.
        """


@runtime_checkable
class SubscriptionProvider(Provider, Protocol):
    """What a provider's module offers beside that, if its subscriptions are records."""

    def clock(self, subject: str, now: int) -> bytes:
        """An event of our own making (``events.CLOCK``): that time has passed for that subject."""


@runtime_checkable
class AskableProvider(Provider, Protocol):
    """What a provider's module offers beside that, if its own API can be asked."""

    def needs_asking(self, event: Event) -> bool:
        """Whether the event is to be completed, where the API can be asked."""

    def api(self, connection: Connection) -> ProviderApi | None:
        """The API, if the stage has credentials for it."""


@runtime_checkable
class PostbackProvider(Provider, Protocol):
    """What a provider's module offers, if it can be asked whether it sent a webhook."""

    def postback(self, connection: Connection) -> Postback: ...


def api_of(provider: Provider, connection: Connection) -> ProviderApi | None:
    """The provider's API, if it has one and the stage has credentials for it."""
    return provider.api(connection) if isinstance(provider, AskableProvider) else None


def needs_asking(provider: Provider, event: Event) -> bool:
    """Whether the provider is to be asked about the event, where it can be."""
    return isinstance(provider, AskableProvider) and provider.needs_asking(event)

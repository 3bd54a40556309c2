"""The program's first sentence: prove a delivery genuine, name its event, queue it, and only then say 200."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from chalicelib.accounts import Secrets, signed_by
from chalicelib.credentials import Credentials
from chalicelib.errors import InvalidPayload, InvalidSignature, NotFound, PayloadTooLarge
from chalicelib.events import OWN, OWN_IDS, Delivery
from chalicelib.inbox import Inbox
from chalicelib.providers.protocol import Proof, Provider, Trust
from chalicelib.telemetry import Telemetry

LARGEST = 1024 * 1024  # bytes of a body, before it is compressed


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Takes deliveries in. ``trust`` makes what a delivery is verified with from the secrets."""

    providers: Mapping[str, Provider]
    credentials: Credentials
    trust: Callable[[Secrets], Trust]
    inbox: Inbox
    telemetry: Telemetry
    livemode: bool | None

    def receive(self, provider_name: str, delivery: Delivery) -> dict[str, str]:
        """What to answer with 200. Raises ``Refused``, whose status and code say why it is not accepted."""
        provider = self.providers.get(provider_name)
        if provider is None:
            raise NotFound("no such provider")
        if len(delivery.body) > LARGEST:
            raise PayloadTooLarge("the body is over 1 MiB")
        with self.telemetry.span("verify", provider=provider.NAME):
            proof, secrets = self._verify(provider, delivery)
        read = provider.event(delivery.body, delivery.received_at)
        event = replace(read, via=signed_by(secrets, proof.secret))
        if event.type.startswith(OWN) or event.id.startswith(OWN_IDS):
            raise InvalidPayload("no provider sends events of this type, or with such an id")
        status = "ignored" if event.is_of_other_mode(self.livemode) else "accepted"
        if status == "accepted":
            about = {"provider": event.provider, "type": event.type, "subject": event.subject}
            with self.telemetry.span("enqueue", **about):
                self.inbox.send(event, delivery.body, proof.transmission, self.telemetry.trace())
        self.telemetry.log(
            status,
            metrics={"received": 1, status: 1, "verified": 1},
            provider=event.provider,
            event_id=event.id,
            subject=event.subject,
            secret=proof.secret,
            account=event.via,
            ms=self.telemetry.clock() - delivery.received_at,
        )
        return {"status": status, "event_id": event.id}

    def _verify(self, provider: Provider, delivery: Delivery) -> tuple[Proof, Secrets]:
        """Verify, and say by which secrets; where that fails by those read anew: one may have been rolled.

        Where they cannot be read it is undecided, which is an outage and no refusal.
        """
        secrets = self.credentials.current()
        try:
            return provider.verify(delivery, self.trust(secrets)), secrets
        except InvalidSignature:
            if not self.credentials.reread():
                raise
            secrets = self.credentials.current()
            return provider.verify(delivery, self.trust(secrets)), secrets

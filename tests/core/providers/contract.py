"""What every provider must do, whatever its signature looks like. A provider's test subclasses it."""

from typing import Any, ClassVar

import pytest

from chalicelib.errors import InvalidPayload, InvalidSignature, NotConfigured
from chalicelib.events import Delivery
from chalicelib.providers.protocol import Provider, Trust
from tests.fakes import NOW, as_bytes, signed, trust


class ProviderContract:
    """Set ``provider``, ``genuine`` (an event), ``signature_header``, ``secrets`` (its credentials' name),
    ``too_old`` (milliseconds), and ``rotated`` (an old value that is valid beside the new one).

    ``is_timed``: what is signed holds a time. Without one a captured delivery can be sent again at any time,
    and only the event's id tells that it was.
    """

    provider: Provider
    genuine: ClassVar[dict[str, Any]]
    signature_header: str
    secrets: str
    too_old: int
    rotated: str
    is_timed: bool = True

    def deliver(self, body: bytes | None = None, **changes: Any) -> Delivery:
        return signed(self.provider.NAME, as_bytes(self.genuine) if body is None else body, **changes)

    def trust(self, **secrets: tuple[str, ...]) -> Trust:
        return trust(**secrets)

    def refuses(self, delivery: Delivery) -> None:
        with pytest.raises(InvalidSignature):
            self.provider.verify(delivery, self.trust())

    def test_a_genuine_delivery_is_accepted(self) -> None:
        """What the provider signed for us passes."""
        self.provider.verify(self.deliver(), self.trust())

    def test_a_tampered_body_is_refused(self) -> None:
        """One byte more, one byte less, one bit flipped: none passes."""
        good = self.deliver()
        for body in (good.body + b" ", good.body[:-1], bytes([good.body[0] ^ 1]) + good.body[1:]):
            self.refuses(Delivery(good.headers, body, good.received_at))

    def test_without_headers_is_refused(self) -> None:
        """Nobody gets in without a signature."""
        self.refuses(Delivery({}, as_bytes(self.genuine), NOW))

    @pytest.mark.parametrize(
        "garbage",
        ["", "x", ",,,", "t=,v1=", "=" * 5000, "t=1,v1=\x00", "ü", "t=" + "9" * 5000 + ",v1=a", "\udcff"],
    )
    def test_a_garbage_signature_is_refused(self, garbage: str) -> None:
        """A malformed or non-ASCII signature is a bad signature, never an exception of another kind."""
        good = self.deliver()
        self.refuses(Delivery({**good.headers, self.signature_header: garbage}, good.body, NOW))

    def test_a_body_that_is_not_utf8_is_refused_or_accepted_by_its_bytes(self) -> None:
        """The signature is over bytes: unreadable ones verify like any other, and altered ones do not."""
        good = self.deliver(b'{"id": "\xff\xfe"}')
        self.provider.verify(good, self.trust())
        self.refuses(Delivery(good.headers, b'{"id": "\xff\xfd"}', NOW))

    def test_a_stale_delivery_is_refused(self) -> None:
        """A captured delivery cannot be sent again for ever, where the time is signed."""
        self.refuses_at(NOW - self.too_old - 1000)

    def refuses_at(self, at: int) -> None:
        if self.is_timed:
            self.refuses(self.deliver(at=at))
        else:
            self.provider.verify(self.deliver(at=at), self.trust())

    def test_a_delivery_from_the_future_is_refused(self) -> None:
        """More than 300 s ahead is no clock skew."""
        self.refuses_at(NOW + 301_000)

    def test_clock_skew_is_tolerated(self) -> None:
        """Up to 300 s either way."""
        for at in (NOW - 300_000, NOW + 300_000):
            self.provider.verify(self.deliver(at=at), self.trust())

    def test_another_secret_is_refused(self) -> None:
        """A signature for somebody else is not one for us."""
        self.refuses(self.deliver(secret="whsec_somebody_elses"))

    def test_both_secrets_are_valid_while_one_is_rolled(self) -> None:
        """The old and the new value are tried in turn."""
        both = {self.secrets: ("new-one", self.rotated)}
        self.provider.verify(self.deliver(secret=self.rotated), self.trust(**both))
        self.provider.verify(self.deliver(secret="new-one"), self.trust(**both))

    def test_no_secret_is_an_outage_not_an_open_door(self) -> None:
        """Without a secret nothing can be proven, so nothing is accepted."""
        with pytest.raises(NotConfigured):
            self.provider.verify(self.deliver(), self.trust(**{self.secrets: ()}))

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b"[]",
            b'"evt_1"',
            b"{}",
            b'{"id": null}',
            b'{"id": ""}',
            b'{"id": 7}',
            b'{"id": "a b"}',
            b'{"id": "a\\u0000"}',
            b'{"id": "\\ud800"}',
            b'{"id": "\xff"}',
            b'{"id": "evt_1", "x": NaN}',
            b'{"id": "' + b"x" * 10_000 + b'"}',
            b'{"id": ' + b"9" * 10_000 + b"}",
            b'{"a":' * 100_000,
        ],
        ids=lambda body: repr(body[:24]),
    )
    def test_what_is_no_event_is_refused_as_such(self, body: bytes) -> None:
        """Genuine but not an event: its own error, never another exception."""
        with pytest.raises(InvalidPayload):
            self.provider.event(body, NOW)

    def test_an_unknown_type_is_an_event_without_facts(self) -> None:
        """What is genuine and identifiable can be recorded, understood or not."""
        event = self.provider.event(b'{"id": "evt_9", "type": "new.thing", "event_type": "NEW"}', NOW)
        assert event.id == "evt_9"
        assert event.subject == f"{self.provider.NAME}:evt_9"
        assert event.created_at == NOW
        assert self.provider.facts(event) == {}

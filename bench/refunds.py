"""A payment with very many refunds: what one more event of it costs. Run with ``python -m bench.refunds``.

Each refund comes as Stripe tells of it: an event of its own, and one of its charge with the running total.
"""

import json
import random
import string
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from chalicelib import entries
from chalicelib.entries import StoredPayment, not_stored
from chalicelib.payments import Facts, fold, project
from chalicelib.providers import PROVIDERS
from chalicelib.table import Item

START = 1_795_400_000  # seconds
COUNTS = (100, 1_000, 10_000)
LETTERS = string.ascii_letters + string.digits


def events(count: int, rng: random.Random) -> Iterator[bytes]:
    """A payment of that many refunds, each of 1.00, and the events that tell of it."""
    charge: dict[str, object] = {
        "object": "charge",
        "id": "ch_1",
        "payment_intent": "pi_1",
        "currency": "eur",
        "amount": 100 * (count + 1),
        "amount_captured": 100 * (count + 1),
        "captured": True,
        "status": "succeeded",
        "created": START,
    }
    yield _event("charge.succeeded", START, {**charge, "amount_refunded": 0}, rng)
    for number in range(1, count + 1):
        at = START + 60 * number
        refund = {
            "object": "refund",
            "id": "re_" + "".join(rng.choices(LETTERS, k=24)),
            "charge": "ch_1",
            "payment_intent": "pi_1",
            "currency": "eur",
            "amount": 100,
            "status": "succeeded",
            "created": at,
        }
        yield _event("refund.created", at, refund, rng)
        before = {"amount_refunded": 100 * (number - 1)}
        yield _event("charge.refunded", at, {**charge, "amount_refunded": 100 * number}, rng, before)


def _event(
    type_: str, at: int, about: dict[str, object], rng: random.Random, before: dict[str, int] | None = None
) -> bytes:
    data = {"object": about, **({"previous_attributes": before} if before else {})}
    event_id = "evt_" + "".join(rng.choices(LETTERS, k=24))
    return json.dumps(
        {"id": event_id, "type": type_, "created": at, "api_version": "2025-03-31.basil", "data": data}
    ).encode()


def facts_of(body: bytes) -> Facts:
    provider = PROVIDERS["stripe"]
    return dict(provider.facts(provider.event(body, START * 1000))["stripe:pi_1"])


def stored(count: int) -> StoredPayment:
    """The payment as it is in the ledger after all these events."""
    facts = fold(facts_of(body) for body in events(count, random.Random(count)))
    return replace(not_stored("stripe:pi_1"), facts=facts)


def seconds(act: Callable[[], object]) -> float:
    """Of CPU."""
    began = time.process_time()
    act()
    return time.process_time() - began


def lines() -> Iterator[str]:
    yield "| refunds | fold of all events | one more event | characters of facts | entries | write units |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: |"
    for count in COUNTS:
        told = [facts_of(body) for body in events(count, random.Random(count))]
        folding = seconds(partial(fold, told))
        payment = stored(count)
        assert project("stripe:pi_1", payment.facts).refunded == 100 * count
        again = seconds(partial(written, payment))
        items = written(payment)
        sizes = [len(value.get("B") or value.get("S", "")) for item in items for value in item.values()]
        units = 2 * sum(-(-size // 1024) for size in sizes)
        text = len(json.dumps(payment.facts))
        yield f"| {count:,} | {folding:.2f} s | {again:.2f} s | {text:,} | {len(items)} | {units:,} |"


def written(payment: StoredPayment) -> list[Item]:
    """What one more event works out and writes of the payment."""
    return entries.payment_items(payment.with_facts(payment.facts, START))


if __name__ == "__main__":
    print("\n".join(lines()))

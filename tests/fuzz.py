"""Fuzzing what reads a stranger's bytes: a signature, an event, its facts, for both providers.

python -m tests.fuzz TARGET CORPUS SECONDS      (libFuzzer through atheris, guided by coverage)

A target returns, or raises what its contract names; anything else is a find. The same targets run over the
corpus, and over mutations by chance, in `make test`.
"""

import json
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from chalicelib.errors import InvalidPayload, InvalidSignature
from chalicelib.events import Delivery
from chalicelib.payments import join, project
from chalicelib.providers import PROVIDERS
from tests.fakes import NOW, trust

Target = Callable[[bytes], None]
STRIPE_HEADERS = ("stripe-signature",)
PAYPAL_HEADERS = (
    "paypal-transmission-id",
    "paypal-transmission-time",
    "paypal-transmission-sig",
    "paypal-cert-url",
    "paypal-auth-algo",
)


def verifying(provider: str, names: tuple[str, ...]) -> Target:
    """Header values a line each, then the body: nothing that is made up here is genuine."""

    def target(data: bytes) -> None:
        *values, body = data.split(b"\n", len(names))
        headers = {name: value.decode("latin-1") for name, value in zip(names, values, strict=False)}
        try:
            PROVIDERS[provider].verify(Delivery(headers, body, NOW), trust())
        except InvalidSignature:
            return
        raise AssertionError("a forgery was accepted")

    return target


def understanding(provider: str) -> Target:
    """An event, its facts, and the payment that they make; joined twice they are what they were."""

    def target(data: bytes) -> None:
        try:
            event = PROVIDERS[provider].event(data, NOW)
        except InvalidPayload:
            return
        try:
            by_subject = PROVIDERS[provider].facts(event)
        except (ValueError, InvalidPayload):  # it is recorded without facts
            return
        for subject, facts in by_subject.items():
            if join(facts, facts) != facts:
                raise AssertionError("facts that change by coming twice")
            project(subject, facts).to_dict()

    return target


TARGETS: Mapping[str, Target] = {
    "stripe-verify": verifying("stripe", STRIPE_HEADERS),
    "paypal-verify": verifying("paypal", PAYPAL_HEADERS),
    "stripe-facts": understanding("stripe"),
    "paypal-facts": understanding("paypal"),
}


ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**30,
    1.5,
    "",
    "0",
    "-0.01",
    "1e9",
    "é",
    "x" * 300,
    "2026-11-24T00:00:00Z",
    "9999-12-31T23:59:59-23:59",
    [],
    {},
    [None],
    {"id": 1},
    "succeeded",
    "won",
    "jpy",
    "JPY",
    "charge",
    "refund",
    "dispute",
)


def changed(document: bytes, rng: random.Random) -> bytes:
    """A JSON document with one of its values replaced, removed or moved; as it is where it is none."""
    try:
        root = json.loads(document)
    except (ValueError, RecursionError):
        return document
    places = list(_places(root))
    if not places:
        return document
    parent, key = rng.choice(places)
    other, its = rng.choice(places)
    how = rng.random()
    if how < 0.2:
        del parent[key]
    elif how < 0.4:
        parent[key] = json.loads(json.dumps(other[its]))
    else:
        parent[key] = rng.choice(ODD)
    return json.dumps(root).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Where a value stands: its object or list, and its key there."""
    keys: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def main(target: str, corpus: Path, seconds: int) -> None:
    import atheris

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        made = changed(data, rng) if rng.random() < 0.8 else data
        return made[:most] if made != data else bytes(atheris.Mutate(data, most))

    found = corpus / "found"
    found.mkdir(parents=True, exist_ok=True)
    atheris.instrument_all()
    arguments = [sys.argv[0], str(found), str(corpus), f"-max_total_time={seconds}", "-max_len=8192"]
    arguments += [f"-artifact_prefix={found}/crash-", "-print_final_stats=1"]
    atheris.Setup(arguments, TARGETS[target], custom_mutator=mutate if "facts" in target else None)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))

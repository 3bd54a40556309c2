"""``daybook send``: realistic events, signed and sent."""

import json
import os
import random
import time
from typing import Any

import click
from rich.progress import Progress

from chalicelib import money
from chalicelib.providers import PROVIDERS
from ops import sender, stories
from ops.commands import Failed, beside, now, say
from ops.stage import PORT, port

STORIES = (*stories.STORIES, *stories.SUBSCRIPTIONS)
MANY = 50  # deliveries from which a progress bar is shown


@click.command()
@click.argument("provider", type=click.Choice(list(stories.MADE)))
@click.argument("type_", metavar="[TYPE]", required=False)
@click.option(
    "--story",
    type=click.Choice(STORIES),
    help="A whole story instead of one TYPE.",
)
@click.option("--amount", default=5000, show_default=True, help="In minor units (cents).")
@click.option("--currency", default="EUR", show_default=True, help="ISO 4217 code.")
@click.option("--id", "object_id", help="The id (pi_…, sub_…, a PayPal capture). [default: a new one]")
@click.option(
    "--repeat", type=click.IntRange(1), default=1, show_default=True, help="Send every event that many times."
)
@click.option("--shuffle", is_flag=True, help="Send in random order.")
@click.option("--seed", type=int, help="Same seed, same ids and order, at other times.")
@click.option("--url", help="Daybook's address. [default: http://127.0.0.1:$PORT]")
@click.option("--secret", help="Stripe's signing secret, or PayPal's webhook id. [default: stage local's]")
def send(
    provider: str,
    type_: str | None,
    story: str | None,
    amount: int,
    currency: str,
    object_id: str | None,
    repeat: int,
    shuffle: bool,
    seed: int | None,
    url: str | None,
    secret: str | None,
) -> None:
    """Sign and send realistic events of PROVIDER: one of a TYPE, or a --story.

    \b
    daybook send stripe payment_intent.succeeded --amount 1999 --currency USD
    daybook send paypal --story partial-refunds --repeat 3 --shuffle
    """
    if (type_ is None) == (story is None):
        raise click.UsageError("give an event TYPE or a --story")
    rng = random.Random(seed)  # noqa: S311 - ids for tests, no secrets
    subject, events = _tell(provider, rng, amount, currency, object_id, story, type_)
    made = [json.dumps(event).encode() for event in events]
    bodies = [body for body in made for _ in range(repeat)]
    if shuffle:
        rng.shuffle(bodies)
    signer = stories.MADE[provider].signer(secret, os.environ, rng)
    address = url or f"http://127.0.0.1:{port(os.environ, 'PORT', PORT)}"
    started = time.monotonic()
    tally = _send(bodies, f"{address.rstrip('/')}/webhooks/{provider}", signer)
    seconds = time.monotonic() - started
    about = {PROVIDERS[provider].event(body, now()).subject for body in made}
    if subject not in about:  # an event of something else than a payment
        subject = ", ".join(sorted(about))
    say(f"sent {tally.sent}, accepted {tally.accepted}, refused {tally.refused}, {seconds:.2f} s: {subject}")
    if tally.unreachable:
        hint = "is `make run` running, and PORT as it has it?"
        raise Failed(f"no answer from {address} to {tally.unreachable}; {hint}")
    if tally.refused:
        raise Failed(f"{tally.refused} refused; the app's log says why")


def _tell(
    provider: str,
    rng: random.Random,
    amount: int,
    currency: str,
    object_id: str | None,
    story: str | None,
    type_: str | None,
) -> tuple[str, list[dict[str, Any]]]:
    if amount < 1:
        raise click.BadParameter("is not above 0", param_hint="--amount")
    try:
        money.exponent(currency.upper())
    except ValueError:
        raise click.BadParameter(f"{currency} is no ISO 4217 code", param_hint="--currency") from None
    try:
        start = now() - 60_000
        return stories.tell(provider, rng, start, amount, currency, id=object_id, story=story, type_=type_)
    except stories.UnknownType as error:
        raise click.UsageError(str(error)) from None


def _send(bodies: list[bytes], url: str, signer: sender.Signer) -> sender.Tally:
    with Progress(disable=len(bodies) < MANY, console=beside()) as progress:
        task = progress.add_task("sending", total=len(bodies))
        return sender.send_all(bodies, url, signer, now, lambda: progress.advance(task))

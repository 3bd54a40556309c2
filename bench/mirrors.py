"""What becomes of the same lives in Daybook, and in mirrors that keep what is later, or not older.

``python -m bench.mirrors`` prints it for 20,000 of Stripe's subscriptions.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench import lives
from chalicelib.providers import stripe
from chalicelib.providers.stripe.comparison import as_fetched
from chalicelib.subscriptions import Facts, fold, project
from ops.stories.made import Json

START = 1_795_000_000_000  # milliseconds
TRACKED = ("status", "cancel_at", "pause_collection", "items")


@dataclass(slots=True)
class Tally:
    """Of so many lives, how many end wrong, and how many are said to be not certain."""

    lives: int
    wrong: int = 0
    uncertain: int = 0
    wrong_fetched: int = 0
    uncertain_fetched: int = 0
    wrong_later: int = 0
    wrong_not_older: int = 0

    def __str__(self) -> str:
        def share(count: int) -> str:
            return f"{100 * count / self.lives:6.2f} %"

        return "\n".join(
            (
                f"Daybook                    wrong {share(self.wrong)}  not certain {share(self.uncertain)}",
                f"Daybook with an API key    wrong {share(self.wrong_fetched)}"
                f"  not certain {share(self.uncertain_fetched)}",
                f"a mirror of what is later (>)       wrong {share(self.wrong_later)}",
                f"a mirror of what is not older (>=)  wrong {share(self.wrong_not_older)}",
            )
        )


def compare(count: int, seed: int) -> Tally:
    """So many lives, each told in another order than it happened."""
    tally = Tally(lives=count)
    for n in range(count):
        rng = random.Random(seed * 1_000_003 + n)
        life = lives.stripe(rng, START, rng.randrange(1, 14))
        events = rng.sample(life.events, len(life.events))
        facts = fold(_facts(life.subject, each) for each in events)
        _count(tally, "", life, facts)
        if not project(life.subject, facts).certain:
            asked = as_fetched("customer.subscription.shown", life.shown, [], START + 10**10)
            facts = fold([facts, _facts(life.subject, asked)])
        _count(tally, "_fetched", life, facts)
        own = [each for each in events if each["type"].startswith("customer.subscription.")]
        tally.wrong_later += _mirrored(own, is_strict=True) != _tracked(life.shown)
        tally.wrong_not_older += _mirrored(own, is_strict=False) != _tracked(life.shown)
    return tally


def _facts(subject: str, event: Mapping[str, Any]) -> Facts:
    return stripe.facts(stripe.event(json.dumps(event).encode(), START)).get(subject, {})


def _count(tally: Tally, suffix: str, life: lives.Life, facts: Facts) -> None:
    found = project(life.subject, facts)
    [item] = found.items
    truth = life.truth
    ends = (truth["period_end"] or 0) * 1000, (truth["cancel_at"] or 0) * 1000
    is_right = (
        found.provider_status == truth["provider_status"]
        and [item["price"], item["quantity"]] == truth["sold"]
        and (found.period_end or 0, found.cancel_at or 0) == ends
        and (found.pause == "collection") == truth["is_paused"]
    )
    uncertain = f"uncertain{suffix}"
    setattr(tally, uncertain, getattr(tally, uncertain) + (not found.certain))
    wrong = f"wrong{suffix}"
    setattr(tally, wrong, getattr(tally, wrong) + (found.certain and not is_right))


def _mirrored(events: list[Json], is_strict: bool) -> Json:
    """What it has that takes each event's object where that is later than what it has, or not older."""
    kept: Json = {}
    at = -1
    for each in events:
        if each["created"] > at or (not is_strict and each["created"] == at):
            kept, at = each["data"]["object"], each["created"]
    return _tracked(kept)


def _tracked(about: Json) -> Json:
    return {name: about.get(name) for name in TRACKED}


if __name__ == "__main__":  # pragma: no cover
    print(compare(20_000, seed=1))

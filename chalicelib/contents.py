"""Asking the provider what payouts are made of, off the request path.

The parts are kept as they are read, page by page, and the place is noted: a run that is ended goes on there.
Once all are there the payout says so, by an event of our own making, understood by the same code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice

from chalicelib import payouts
from chalicelib.asking import queued
from chalicelib.errors import NotAllowed, NotFound, Unavailable
from chalicelib.inbox import Inbox
from chalicelib.kinds import PAYOUT, kind_of
from chalicelib.ledger import Ledger
from chalicelib.listing import records
from chalicelib.made_of import by_kind
from chalicelib.providers.protocol import Provider
from chalicelib.several import SeveralApis
from chalicelib.telemetry import Telemetry
from chalicelib.times import HOUR, is_hour_to_ask

AT_MOST = 500  # payouts in a run: the next one goes on there, and after the last with the first
PLACE = "contents"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """``apis`` are those whose keys are set."""

    providers: Mapping[str, Provider]
    apis: Mapping[str, SeveralApis]
    ledger: Ledger
    inbox: Inbox
    telemetry: Telemetry

    def run(self, now: int, is_time_left: Callable[[], bool] = lambda: True) -> int:
        """Ask about those that were paid and not asked about, and once a day those that do not add up.

        How many are known now. To be run once an hour. One that cannot be asked about holds up no other, and
        an account that cannot be asked no other's.
        """
        known = 0
        down: dict[str, set[str]] = {name: set() for name in self.apis}
        for subject in (*self._unlisted(now), *self._inconsistent(now)):
            if not is_time_left():
                break
            name = subject.partition(":")[0]
            api = self.apis.get(name)
            if api is None or not api.says_contents:
                continue
            try:
                known += self._read(api, subject, now, is_time_left, down[name])
            except (NotFound, NotAllowed) as error:
                self.telemetry.log("not to be asked", "WARNING", subject=subject, reason=error.reason)
            except Unavailable as error:
                self.telemetry.log("not asked", "WARNING", subject=subject, reason=error.reason)
            except Exception as error:  # what is odd about one keeps nobody else from it
                self.telemetry.log("not asked", "ERROR", subject=subject, error=type(error).__name__)
        return known

    def _unlisted(self, now: int) -> list[str]:
        """Some of them in turn: those whose provider never says it are not to keep others from it."""
        after = self.ledger.checkpoints.checkpoint(PLACE).get("after", 0)
        all_of_them = chain(self.ledger.unlisted(after, now), self.ledger.unlisted(0, after - 1))
        found = list(islice(all_of_them, AT_MOST))
        last = found[-1][0] + 1 if len(found) == AT_MOST else 0
        if last != after:
            self.ledger.checkpoints.note_checkpoint(PLACE, {"after": last})
        return [subject for _, subject in found]

    def _inconsistent(self, now: int) -> list[str]:
        found = (each for each in self.ledger.inconsistent(now - HOUR) if kind_of(each).entry == PAYOUT)
        stored = records(self.ledger, found, unread=[])
        return [subject for subject, each in stored if is_hour_to_ask(each.inconsistent_since, now)]

    def _read(
        self,
        api: SeveralApis,
        subject: str,
        now: int,
        is_time_left: Callable[[], bool],
        down: set[str],
    ) -> bool:
        """Whether all of it is known. Raises ``NotFound``, ``Unavailable``."""
        account = payouts.project(subject, self.ledger.record(subject).facts).account
        place = f"contents {subject}"
        cursor = self.ledger.checkpoints.checkpoint(place).get("cursor")
        while found := api.contents(subject, account, cursor, down):
            self.ledger.made_of.put(subject, found.parts)
            if found.next == cursor and cursor is not None:
                raise Unavailable("the list of its parts does not end", reason="contents")
            cursor = found.next
            if cursor is None:
                break
            self.ledger.checkpoints.note_checkpoint(place, {"cursor": cursor})
            if not is_time_left():
                return False
        if found is None:
            return False
        body = api.payout(subject, account, by_kind(self.ledger.made_of.of(subject)), down)
        read = self.providers[subject.partition(":")[0]].event(body, now)
        event = replace(read, via=api.via(account))
        if not queued(self.inbox, self.telemetry, event, body):
            return False
        self.ledger.checkpoints.note_checkpoint(place, {})
        self.telemetry.log("contents", subject=subject)
        return True

"""What is set aside, to be redriven; and what waits for a reference, or for a target."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from flask import Flask, redirect, render_template, request, url_for

from chalicelib.errors import NotFound, Refused
from chalicelib.parking import ParkedEvent
from chalicelib.undelivered import Undelivered
from chalicelib.wakeups import Waiter
from ops.console.session import Console
from ops.redrive import Redrive, deliver_anew

PARKED_ROWS = 25
MOST = 100  # that a page shows, or redrives at once


class Change(NamedTuple):
    """What redriving one would do. ``is_kept``: it would stay where it is."""

    id: str
    subject: str
    would: list[str]
    is_kept: bool = False


@dataclass(frozen=True, slots=True)
class Aside:
    """What can be looked at, and redriven: each asks first."""

    console: Console

    def on(self, app: Flask) -> None:
        app.get("/parked")(self.parked)
        app.get("/waiting")(self.waiting)
        app.get("/redrive")(self.ask_redrive_all)
        app.post("/redrive")(self.redrive_all)
        app.get("/redrive/<id:event_id>/of/<subject:subject>")(self.ask_redrive)
        app.post("/redrive/<id:event_id>/of/<subject:subject>")(self.redrive)
        app.get("/redeliver/<id:target>/of/<subject:subject>")(self.ask_redeliver)
        app.post("/redeliver/<id:target>/of/<subject:subject>")(self.redeliver)

    # ── look ────────────────────────────────────────────────────────────────────────────────────

    def parked(self) -> str:
        ledger = self.console.stage.ledger()
        rows, below = ledger.parking.parked_page(PARKED_ROWS, request.args.get("below"))
        deliveries = list(islice(ledger.undelivered.parked(), MOST))
        now = self.console.clock()
        return render_template("parked.html", rows=rows, below=below, deliveries=deliveries, now=now)

    def waiting(self) -> str:
        ledger, now = self.console.stage.ledger(), self.console.clock()
        waiters = islice(ledger.undelivered.waiting(now), MOST)
        of_targets = sorted((ledger.undelivered.read(each) for each in waiters), key=lambda each: each.since)
        return render_template(
            "waiting.html",
            for_reference=list(self._for_reference(now)),
            of_targets=[each for each in of_targets if each.tasks],
            most=MOST,
            now=now,
        )

    def _for_reference(self, now: int) -> Iterator[dict[str, Any]]:
        """Payments with handlers that wait for their reference, and for how long."""
        ledger, handlers = self.console.stage.ledger(), self.console.consumer.handlers
        for subject in islice(ledger.waiting(now), MOST):
            stored = ledger.record(subject)
            names = {h.name for task in stored.outbox.tasks for h in handlers.unhandled(task) if h.needs}
            yield {"subject": subject, "since": stored.waiting_since, "handlers": sorted(names)}

    # ── one ─────────────────────────────────────────────────────────────────────────────────────

    def ask_redrive(self, event_id: str, subject: str) -> str:
        parked = self._parked(event_id, subject)
        changes = list(self._redrive().preview(parked))
        return render_template("redrive.html", parked=parked, changes=changes)

    def redrive(self, event_id: str, subject: str) -> Any:
        parked = self._parked(event_id, subject)
        self.console.wrote("redrive", subject, event_id)
        self._redrive().send(parked)
        return redirect(url_for("parked", sent=event_id))

    def ask_redeliver(self, target: str, subject: str) -> str:
        return render_template("redeliver.html", it=self._undelivered(target, subject))

    def redeliver(self, target: str, subject: str) -> Any:
        waiting = self._undelivered(target, subject)
        self.console.wrote(f"redeliver to {target}", subject)
        self._deliver([waiting])
        return redirect(url_for("parked", sent=waiting.id))

    # ── all ─────────────────────────────────────────────────────────────────────────────────────

    def ask_redrive_all(self) -> str:
        events, deliveries = self._all()
        again = self._redrive()
        changes = [
            Change(each.event_id, each.subject, list(again.preview(each)), again.refusal(each) is not None)
            for each in events
        ]
        changes += [
            Change(each.id, each.subject, [f"is sent {', '.join(each.types)}"]) for each in deliveries
        ]
        return render_template("redrive_all.html", changes=changes, most=MOST)

    def redrive_all(self) -> Any:
        events, deliveries = self._all()
        self.console.wrote("redrive all")
        again, kept = self._redrive(), 0
        for each in events:
            try:
                again.send(each)
            except Refused:
                kept += 1
        self._deliver(deliveries)
        count = len(events) + len(deliveries) - kept
        return redirect(url_for("parked", sent=f"All {count}" if not kept else f"{count}", kept=kept or None))

    def _all(self) -> tuple[list[ParkedEvent], list[Undelivered]]:
        """The newest of all that is parked."""
        ledger = self.console.stage.ledger()
        events = list(islice(ledger.parking.parked(), MOST))
        return events, list(islice(ledger.undelivered.parked(), MOST))

    def _parked(self, event_id: str, subject: str) -> ParkedEvent:
        parked = self.console.stage.ledger().parking.parked_event(subject, event_id)
        if parked is None or parked.parked_at is None:
            raise NotFound(f"{event_id} is no longer parked")
        return parked

    def _undelivered(self, target: str, subject: str) -> Undelivered:
        waiting = self.console.stage.ledger().undelivered.read(Waiter(subject, target))
        if not waiting.tasks:
            raise NotFound(f"nothing of {subject} waits for {target} any more")
        return waiting

    def _deliver(self, deliveries: Iterable[Undelivered]) -> None:
        stage = self.console.stage
        ledger, wakeups = stage.ledger(), stage.wakeups()
        for each in deliveries:
            deliver_anew(ledger, wakeups, each, self.console.clock())

    def _redrive(self) -> Redrive:
        stage = self.console.stage
        began = self.console.consumer.began
        return Redrive(stage.ledger(), stage.inbox(), self.console.clock, self.console.apis, began)

"""Follows a study that runs elsewhere, on a server or by another command, and ends with its answer."""

import queue
import sys
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from service.cli.display import Display
from service.cli.options import print_json, say
from service.progress import Progress
from workers.ledger.rows import EventKind, EventRow

if TYPE_CHECKING:
    from service.client import Client, Event, StudyWithSpec

EXIT_FAILED = 1
TURN_S = 0.2
"""Between two looks at the display, whether something has happened or not: the time left counts down."""
QUIET_S, CATCH_UP_S = 0.3, 10.0
"""What was before is told in one go, and not shown as if it happened now: until events pause, or so long."""


def show_progress(events: Iterable[EventRow], total: int) -> None:
    """Show the events of a study from its first one on, until they end. Raises what they raise."""
    told = _Told(events)
    fold = EventFold(total)
    with Display(total, is_here=False) as display:
        told.take_into(fold, patience_s=QUIET_S, at_most_s=CATCH_UP_S)
        while not told.is_over:
            display.show(fold.progress)
            told.take_into(fold, patience_s=TURN_S, at_most_s=TURN_S)
        display.show(fold.progress)


class EventFold:
    """The progress of a study that is told by its events alone, packs and trials too."""

    def __init__(self, total: int) -> None:
        self._steps: dict[str, int] = {_UNSTARTED: 0}
        self._trials: dict[str, int] = {}
        self.progress = Progress(total, pack_steps=self._steps, pack_trials=self._trials)

    def take(self, event: EventRow) -> None:
        """Fold the next event in."""
        kind, payload = event.kind, event.payload
        if kind is EventKind.STUDY_CREATED:
            self.progress.total = payload["total"]
        elif kind is EventKind.ROUND_ADDED:
            self.progress.total += payload["num_trials"]
        elif kind is EventKind.PLAN_WRITTEN:
            self._steps[_UNSTARTED] += payload.get("total_steps", 0)
        elif kind is EventKind.PACK_REPLANNED:
            self._steps[_UNSTARTED] += self._steps.pop(payload["pack_id"], 0) * len(payload["into"])
        elif kind is EventKind.PACK_STARTED and payload["pack_id"] not in self._steps:
            steps = payload.get("total_steps", 0)
            self._steps[payload["pack_id"]] = steps
            self._trials[payload["pack_id"]] = payload.get("num_trials", 0)
            self._steps[_UNSTARTED] = max(0, self._steps[_UNSTARTED] - steps)
        self.progress.take([event])


_UNSTARTED = "all packs that have not begun"


class _Told:
    """Reads events in a thread of its own, since the next one may be long in coming."""

    def __init__(self, events: Iterable[EventRow]) -> None:
        self.is_over = False
        self._events: queue.SimpleQueue[EventRow | BaseException | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(events,), daemon=True).start()

    def take_into(self, fold: EventFold, *, patience_s: float, at_most_s: float) -> None:
        """Fold in what comes, until nothing has come for `patience_s`, or for `at_most_s` in all."""
        until = time.monotonic() + at_most_s
        while not self.is_over and (left_s := until - time.monotonic()) > 0:
            try:
                found = self._events.get(timeout=min(patience_s, left_s))
            except queue.Empty:
                return
            if isinstance(found, BaseException):
                raise found
            if found is None:
                self.is_over = True
            else:
                fold.take(found)

    def _read(self, events: Iterable[EventRow]) -> None:
        try:
            for event in events:
                self._events.put(event)
            self._events.put(None)
        except BaseException as error:  # it is raised where it is waited for
            self._events.put(error)


def known_events(events: "Iterable[Event]") -> Iterable[EventRow]:
    """A server's events as the ledger's; kinds that a newer server knows are passed over."""
    kinds = set(EventKind)
    for event in events:
        if event.kind in kinds:
            yield EventRow(event.seq, event.at, EventKind(event.kind), event.payload)


def server_answer(client: "Client", study: "StudyWithSpec") -> dict[str, Any]:
    """A study's answer as JSON types: the same fields as here, but for the places of this machine."""
    from service.client import ApiError

    report: dict[str, Any] = {}
    if study.state.is_final and study.counts.done:
        say("waiting for its report, which the server may have to write first ...")
        try:
            report = client.report(study.id)
        except ApiError as error:
            say(f"its report cannot be had: {error}")
    return {
        **study.model_dump(mode="json", exclude={"spec", "links"}),
        "verdict": report.get("verdict", ""),
        "ranking": report.get("ranking", []),
        "report": None,
        "server": client.server,
    }


def end_with_answer(client: "Client", study: "StudyWithSpec", *, as_json: bool) -> int:
    """Print how a final study ended. Returns the exit status."""
    answer = server_answer(client, study)
    if as_json:
        print_json(answer)
    else:
        from service.cli.answer import show_answer

        show_answer(answer, sys.stdout)
        if answer["verdict"]:
            print(f"report   warmup-bench report {study.id[:8]} --server {client.server}")
    return EXIT_FAILED if study.has_failed else 0

"""The ledger as a driver asks it: while it is out of reach, training goes on and what has to be written waits."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from schemas.errors import PlaceAway, WrongState
from schemas.trials import TrialState
from workers.cluster.heartbeat import Heartbeat
from workers.cluster.stopping import StopRequest
from workers.ledger.inputs import NewPack, PackProgress, Receipt
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventRow, PackRow, PackState, StudyRow

log = logging.getLogger("warmup_bench.driver")

AGAIN_AFTER_S = 1.0

Answer = TypeVar("Answer")


class SteadyLedger:
    """What a driver asks of its ledger, under its fence.

    A connection may be lost after a write was committed and before its answer came, so a write that is made again is
    one that may have been made.

    Every method raises PlaceAway where the ledger does not answer and the driver is asked to stop, StaleFence where
    another driver has taken over, and else as the ledger's own of that name.
    """

    def __init__(self, ledger: Ledger, heartbeat: Heartbeat, stop: StopRequest) -> None:
        self._ledger, self._heartbeat, self._stop = ledger, heartbeat, stop
        self._is_away = False
        self._num_running = 1

    def insist(self, ask: Callable[[Ledger], Answer], again: Callable[[Ledger], Answer] | None = None) -> Answer:
        """Ask until there is an answer; from the second time on with `again`, where asking twice is not asking once."""
        while True:
            try:
                answer = ask(self._ledger)
            except PlaceAway as error:
                self._note(error)
                self._heartbeat.check()
                self._stop.keep_listening()
                if self._stop.reason:
                    raise
                ask = again or ask
                time.sleep(AGAIN_AFTER_S)
            else:
                self._note_back()
                return answer

    def _ask_once(self, ask: Callable[[Ledger], Answer], otherwise: Answer) -> Answer:
        try:
            answer = ask(self._ledger)
        except PlaceAway as error:
            self._note(error)
            return otherwise
        self._note_back()
        return answer

    def _note(self, error: PlaceAway) -> None:
        if not self._is_away:
            log.warning("the ledger is out of reach; what trains goes on, what is to be written waits: %s", error)
        self._is_away = True

    def _note_back(self) -> None:
        if self._is_away:
            log.info("the ledger is back")
        self._is_away = False

    def hears_cancel(self, study_id: str) -> bool:
        """Whether it is known that the study is to be cancelled; asked again at the next turn."""
        return self._ask_once(lambda ledger: ledger.cancel_requested(study_id), False)

    def num_running(self) -> int:
        """Studies under way, as last heard."""
        self._num_running = self._ask_once(lambda ledger: ledger.num_running(), self._num_running)
        return self._num_running

    def record_progress(self, study_id: str, fence: int, progress: Sequence[PackProgress]) -> set[str]:
        """Empty also where it could not be noted: the next progress of those packs says all of it again, and more."""
        return self._ask_once(lambda ledger: ledger.record_progress(study_id, fence, progress), set())

    def cancel_requested(self, study_id: str) -> bool:
        """Whether the study is to be cancelled."""
        return self.insist(lambda ledger: ledger.cancel_requested(study_id))

    def study(self, study_id: str) -> StudyRow:
        """The study."""
        return self.insist(lambda ledger: ledger.study(study_id))

    def packs(self, study_id: str, states: Sequence[PackState] | None = None) -> list[PackRow]:
        """Its packs, or those in these states."""
        return self.insist(lambda ledger: ledger.packs(study_id, states))

    def all_events(self, study_id: str) -> Iterator[EventRow]:
        """Every event of the study so far, in order."""
        last = 0
        while events := self.insist(lambda ledger, after=last: ledger.events(study_id, after=after)):  # type: ignore[misc]
            yield from events
            last = events[-1].seq

    def may_be_all_reused(self, study_id: str) -> bool:
        """Whether other studies may have all its trials."""
        return self.insist(lambda ledger: ledger.may_be_all_reused(study_id))

    def set_study_state(self, study_id: str, state: TrialState, *, reason: str = "", fence: int) -> None:
        """Move the study."""
        self.insist(lambda ledger: ledger.set_study_state(study_id, state, reason=reason, fence=fence))

    def counts(self, study_id: str) -> dict[str, int]:
        """Its trials by state and outcome."""
        return self.insist(lambda ledger: ledger.counts(study_id))

    def cancel_remaining(self, study_id: str, fence: int, *, reason: str) -> None:
        """Cancel every trial that is not final."""
        self.insist(lambda ledger: ledger.cancel_remaining(study_id, fence, reason=reason))

    def commit_receipts(self, study_id: str, fence: int, receipts: Sequence[Receipt]) -> None:
        """Make finished packs final."""
        self.insist(lambda ledger: ledger.commit_receipts(study_id, fence, receipts))

    def start_packs(self, study_id: str, pack_ids: Sequence[str], fence: int) -> list[PackRow]:
        """Move queued packs to running."""

        def start(ledger: Ledger) -> list[PackRow]:
            return ledger.start_packs(study_id, pack_ids, fence)

        def start_again(ledger: Ledger) -> list[PackRow]:
            ledger.requeue_packs(study_id, pack_ids, fence, "the ledger was out of reach when it started")
            return start(ledger)

        return self.insist(start, start_again)

    def requeue_packs(
        self, study_id: str, pack_ids: Sequence[str] | None, fence: int, reason: str, *, from_start: bool = False
    ) -> list[PackRow]:
        """Queue running packs again; the queued ones among `pack_ids`, or (all: None) those queued by this call."""

        def requeue(ledger: Ledger) -> list[PackRow]:
            queued = ledger.requeue_packs(study_id, pack_ids, fence, reason, from_start=from_start)
            if pack_ids is None:
                return queued
            return [pack for pack in ledger.packs_by_id(pack_ids) if pack.state is PackState.QUEUED]

        return self.insist(requeue)

    def replan(self, study_id: str, pack_id: str, new: Sequence[NewPack], fence: int, reason: str) -> list[PackRow]:
        """Replace a pack by others, which are returned."""

        def replan(ledger: Ledger) -> None:
            ledger.replan(study_id, pack_id, new, fence, reason=reason)

        def replan_again(ledger: Ledger) -> None:
            if ledger.packs_by_id([pack_id])[0].state is not PackState.SUPERSEDED:
                replan(ledger)

        self.insist(replan, replan_again)
        ids = [pack.pack_id for pack in new]
        found = {pack.pack_id: pack for pack in self.insist(lambda ledger: ledger.packs_by_id(ids))}
        return [found[pack_id] for pack_id in ids]

    def fail_pack(self, study_id: str, pack_id: str, fence: int, reason: str, log: str = "") -> None:
        """End a pack that cannot be run."""

        def fail(ledger: Ledger) -> None:
            ledger.fail_pack(study_id, pack_id, fence, reason, log=log)

        def fail_again(ledger: Ledger) -> None:
            try:
                fail(ledger)
            except WrongState:
                if ledger.packs_by_id([pack_id])[0].state is not PackState.ERRORED:
                    raise

        self.insist(fail, fail_again)

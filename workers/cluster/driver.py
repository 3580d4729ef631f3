"""Drives one study to its end: plan, feed the trainers, commit what they report. The ledger decides what runs."""

import logging
import time
from collections import Counter, deque
from collections.abc import Iterable

from schemas.errors import PlaceError
from schemas.study import Study, parse_study
from schemas.trials import TrialState
from workers.cards import cards
from workers.cluster.heartbeat import Heartbeat
from workers.cluster.local_ray import local_ray
from workers.cluster.orders import PackOrder, Progress
from workers.cluster.planning import StudyTrials, datasets_of, pack_task, write_plan
from workers.cluster.slots import Slot, Slots
from workers.cluster.stopping import StopRequest
from workers.cluster.trainer import start_trainer
from workers.cores import num_cores
from workers.ledger.inputs import Receipt
from workers.ledger.ledger import Ledger
from workers.ledger.rows import PackRow, PackState
from workers.places import Places
from workers.records import RecordStore, SegmentRef

log = logging.getLogger("warmup_bench.driver")

TURN_S = 1.0
"""A trainer reports about this often; cancel and preemption are obeyed between its turns."""
POLL_S = 0.25
WIND_DOWN_S = 20.0
"""So long trainers may take to end a turn and to save; what is not saved by then is trained again."""
MAX_DEATHS = 3
"""A pack whose trainer dies this often is guilty until proven otherwise: its trials become errored."""


class CannotRun(Exception):
    """The study cannot be run as it is, here and now; the message says why and what to do."""


class Driver:
    """One run of one study under one fence."""

    def __init__(
        self,
        ledger: Ledger,
        study_id: str,
        places: Places,
        heartbeat: Heartbeat,
        stop: StopRequest,
        *,
        workers: int | None = None,
    ) -> None:
        self._ledger = ledger
        self._study_id = study_id
        self._places = places
        self._heartbeat = heartbeat
        self._fence = heartbeat.fence
        self._stop = stop
        self._num_workers = workers
        self._store = RecordStore(places.records)
        self._deaths: Counter[str] = Counter()
        self._queue: deque[PackRow] = deque()
        self._place_error = ""

    def run(self) -> TrialState:
        """Train what is not final. Returns the state that the trials allow: done, cancelled, or queued (stopped).

        Raises:
            CannotRun, PlaceError: what is durable stays; the same command continues.
            StaleFence: another driver has taken over.
        """
        row = self._ledger.study(self._study_id)
        study = parse_study(row.spec)
        self._ledger.requeue_packs(self._study_id, None, self._fence, "its driver was replaced")
        self._ledger.set_study_state(self._study_id, TrialState.RUNNING, fence=self._fence)
        self._store.check_writable()
        if not self._ledger.has_plan(self._study_id, 0) or self._unfinished():
            self._train(study)
        return self._outcome()

    def _train(self, study: Study) -> None:
        device = _device(study.fields.execution.device)
        gpus = len(cards()) if device == "cuda" else 0
        workers = self._num_workers or gpus or num_cores()
        if self._reason_to_stop():
            return
        with local_ray(workers, gpus) as ray_here:
            trials = StudyTrials(study, datasets_of(self._ledger))
            ray_here.ready()
            self._stop.keep_listening()
            if self._reason_to_stop():
                return
            self._slots = Slots(
                lambda: start_trainer(self._places.records, str(self._places.data), device, min(1.0, gpus / workers)),
                workers,
            )
            self._plan(trials)
            self._queue = deque(self._ledger.packs(self._study_id, [PackState.QUEUED]))
            self._feed(trials, device)

    def _plan(self, trials: StudyTrials) -> None:
        facts = self._slots.facts()
        if not self._ledger.has_plan(self._study_id, 0):
            write_plan(self._ledger, self._study_id, trials, facts, self._fence)
        planned = self._ledger.study(self._study_id).device_class
        if planned != facts.device_class:
            raise CannotRun(f"the study is planned for device class {planned}, this machine has {facts.device_class}")

    def _feed(self, trials: StudyTrials, device: str) -> None:
        while not (reason := self._reason_to_stop()):
            self._start_idle(trials, device)
            if not self._slots.is_busy:
                return
            self._take(self._slots.reports(POLL_S))
            for slot in self._slots.waiting:
                self._slots.go_on(slot, TURN_S)
        self._wind_down(reason)
        if self._place_error:
            raise CannotRun(self._place_error)

    def _start_idle(self, trials: StudyTrials, device: str) -> None:
        idle = self._slots.idle
        chosen = [self._queue.popleft() for _ in idle[: len(self._queue)]]
        if not chosen:
            return
        # Before they are marked as started: a pack that cannot be made into a task has not run.
        tasks = [pack_task(pack, trials, device) for pack in chosen]
        started = self._ledger.start_packs(self._study_id, [pack.pack_id for pack in chosen], self._fence)
        for slot, pack, task in zip(idle, started, tasks, strict=False):
            self._slots.begin(slot, pack, PackOrder(task, pack.attempt, pack.manifest, pack.checkpoint), TURN_S)

    def _take(self, reports: Iterable[tuple[Slot, Progress | Exception]]) -> None:
        alive = []
        for slot, report in reports:
            if isinstance(report, Progress):
                alive.append((slot, report))
            else:
                self._bury(slot, report)
        self._commit_finished([pair for pair in alive if pair[1].results is not None])
        for slot, progress in alive:
            if progress.error is not None:
                self._fail(slot, progress)
            elif progress.results is None:
                self._record(progress)

    def _commit_finished(self, finished: list[tuple[Slot, Progress]]) -> None:
        if finished:
            receipts = [_receipt(progress) for _, progress in finished]
            self._ledger.commit_receipts(self._study_id, self._fence, receipts)
        for slot, progress in finished:
            slot.pack = None
            self._tidy(progress)

    def _tidy(self, progress: Progress) -> None:
        """Remove the segments that compaction replaced, and what earlier attempts and checkpoints left."""
        try:
            self._store.delete(_segments(progress.replaced))
            if progress.replaced or progress.checkpoint or progress.attempt > 1:
                self._store.sweep(progress.pack_id, _segments(progress.manifest))
        except PlaceError as error:
            log.warning("pack %s: leftovers stay: %s", progress.pack_id, error)

    def _fail(self, slot: Slot, progress: Progress) -> None:
        assert slot.pack is not None
        pack, slot.pack = slot.pack, None
        log.error("pack %s failed: %s", pack.pack_id, progress.error)
        if progress.is_place_error:
            # Not the pack's fault, and the next one would fare no better: it is queued again when the driver ends.
            self._place_error = self._place_error or progress.reason
        else:
            self._ledger.fail_pack(
                self._study_id, pack.pack_id, self._fence, progress.reason, log=progress.error or progress.reason
            )

    def _record(self, progress: Progress) -> None:
        self._ledger.record_progress(
            self._study_id,
            progress.pack_id,
            progress.attempt,
            self._fence,
            progress.manifest,
            progress.checkpoint,
            progress.step,
        )

    def _bury(self, slot: Slot, error: Exception) -> None:
        """A trainer died: a new one takes its place, and its pack goes on from what is durable."""
        assert slot.pack is not None
        pack = slot.pack
        self._deaths[pack.pack_id] += 1
        reason = f"its trainer died: {str(error).splitlines()[0]}"
        log.warning("pack %s: %s", pack.pack_id, error)
        if self._deaths[pack.pack_id] >= MAX_DEATHS:
            reason = f"{reason} ({MAX_DEATHS} times)"
            self._ledger.fail_pack(self._study_id, pack.pack_id, self._fence, reason, log=str(error))
        else:
            self._queue.extendleft(self._ledger.requeue_packs(self._study_id, [pack.pack_id], self._fence, reason))
        self._slots.replace(slot)

    def _wind_down(self, reason: str) -> None:
        """Let every trainer end its turn, save, and report; then queue again what is not done."""
        log.info("stopping: %s", reason)
        deadline = time.monotonic() + WIND_DOWN_S
        self._settle(deadline)
        for slot in self._slots.waiting:
            self._slots.go_on(slot, 0.0, save=True)
        self._settle(deadline)
        self._ledger.requeue_packs(self._study_id, None, self._fence, reason)

    def _settle(self, deadline: float) -> None:
        reports = self._slots.reports(max(0.0, deadline - time.monotonic()), of_all=True)
        # One that dies now needs no successor: its pack is queued again with the others.
        for slot, report in reports:
            if not isinstance(report, Progress):
                slot.pack = None
        self._take([pair for pair in reports if isinstance(pair[1], Progress)])

    def _unfinished(self) -> bool:
        return bool(self._ledger.packs(self._study_id, [PackState.QUEUED, PackState.RUNNING]))

    def _outcome(self) -> TrialState:
        if self._ledger.has_plan(self._study_id, 0) and not self._unfinished():
            return TrialState.DONE
        return TrialState.CANCELLED if self._ledger.cancel_requested(self._study_id) else TrialState.QUEUED

    def _reason_to_stop(self) -> str:
        self._heartbeat.check()
        self._stop.keep_listening()
        if self._ledger.cancel_requested(self._study_id):
            return "cancelled"
        return self._place_error or self._stop.reason


def _device(asked: str) -> str:
    if asked == "cuda" and not cards():
        raise CannotRun("execution.device: got cuda, allowed cpu or auto: this machine has no CUDA device")
    return "cuda" if asked != "cpu" and cards() else "cpu"


def _segments(rows: Iterable[dict[str, object]]) -> tuple[SegmentRef, ...]:
    return tuple(SegmentRef(**row) for row in rows)  # type: ignore[arg-type]


def _receipt(progress: Progress) -> Receipt:
    assert progress.results is not None
    return Receipt(
        pack_id=progress.pack_id,
        attempt=progress.attempt,
        manifest=progress.manifest,
        results=progress.results,  # type: ignore[arg-type]
        seconds=progress.seconds,
        steps=progress.step,
        timed_steps=progress.timed_steps,
    )

"""Drives one study to its end: plan, feed the trainers, commit what they report. The ledger decides what runs."""

import contextlib
import logging
import os
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from schemas.errors import StaleFence
from schemas.study import parse_study
from schemas.trials import TrialState
from workers.cluster.heartbeat import Heartbeat
from workers.cluster.local_ray import local_ray
from workers.cluster.orders import PackOrder, Progress
from workers.cluster.planning import StudyTrials, datasets_of, pack_task, write_plan
from workers.cluster.trainer import start_trainer
from workers.ledger.inputs import Receipt
from workers.ledger.ledger import Ledger
from workers.ledger.rows import PackRow, PackState
from workers.places import Places
from workers.records import RecordStore, SegmentRef

log = logging.getLogger("warmup_bench.driver")

TURN_S = 1.0
"""A trainer reports about this often; cancel and preemption are obeyed between its turns."""
POLL_S = 0.25
MAX_DEATHS = 3
"""A pack whose trainer dies this often is guilty until proven otherwise: its trials become errored."""


@dataclass
class Slot:
    """One trainer and what it is doing."""

    actor: Any
    pack: PackRow | None = None
    pending: Any = None
    """Reference to the turn under way."""


class Stop(Exception):
    """The driver is to end now; the message says why."""


class Driver:
    """One run of one study under one fence."""

    def __init__(
        self, ledger: Ledger, study_id: str, places: Places, heartbeat: Heartbeat, *, workers: int, parent_pid: int | None
    ) -> None:
        self._ledger = ledger
        self._study_id = study_id
        self._places = places
        self._heartbeat = heartbeat
        self._fence = heartbeat.fence
        self._num_workers = workers
        self._parent_pid = parent_pid
        self._store = RecordStore(places.records)
        self._stopping = ""
        self._deaths: Counter[str] = Counter()
        self._queue: deque[PackRow] = deque()

    def run(self) -> TrialState:
        """Train what is not final. Returns the state that the trials allow: done, cancelled, or queued (stopped)."""
        signal.signal(signal.SIGTERM, lambda *_: self._ask_to_stop("asked to stop"))
        signal.signal(signal.SIGINT, lambda *_: self._ask_to_stop("asked to stop"))
        row = self._ledger.study(self._study_id)
        study = parse_study(row.spec)
        self._store.check_writable()
        self._ledger.requeue_packs(self._study_id, None, self._fence, "driver replaced")
        self._ledger.set_study_state(self._study_id, TrialState.RUNNING, fence=self._fence)
        trials = StudyTrials(study, datasets_of(self._ledger))
        if self._ledger.has_plan(self._study_id, 0) and not self._waiting():
            return self._outcome()
        device = self._device(study.fields.execution.device)
        with local_ray(self._num_workers):
            self._slots = [self._new_slot(device) for _ in range(self._num_workers)]
            if not self._ledger.has_plan(self._study_id, 0):
                facts = ray.get(self._slots[0].actor.facts.remote())
                write_plan(self._ledger, self._study_id, trials, facts, self._fence)
            self._queue = deque(self._waiting())
            self._check_facts()
            self._feed(trials, device)
        return self._outcome()

    def _waiting(self) -> list[PackRow]:
        return self._ledger.packs(self._study_id, [PackState.QUEUED])

    def _feed(self, trials: StudyTrials, device: str) -> None:
        while True:
            if reason := self._reason_to_stop():
                self._wind_down(reason)
                return
            self._start_idle(trials, device)
            busy = [slot for slot in self._slots if slot.pending is not None]
            if not busy:
                return
            ray.wait([slot.pending for slot in busy], num_returns=1, timeout=POLL_S)
            self._commit(list(self._collect(busy, device)))

    def _start_idle(self, trials: StudyTrials, device: str) -> None:
        idle = [slot for slot in self._slots if slot.pending is None and slot.pack is None]
        chosen = [self._queue.popleft() for _ in idle[: len(self._queue)]]
        if not chosen:
            return
        started = self._ledger.start_packs(self._study_id, [pack.pack_id for pack in chosen], self._fence)
        for slot, pack in zip(idle, started, strict=False):
            order = PackOrder(pack_task(pack, trials, device), pack.attempt, pack.manifest, pack.checkpoint)
            slot.pack = pack
            slot.pending = slot.actor.advance.remote(order, TURN_S)

    def _collect(self, busy: list[Slot], device: str, *, timeout_s: float = 0) -> Iterator[tuple[Slot, Progress]]:
        # All that are ready now: their receipts share one transaction.
        ready, _ = ray.wait([slot.pending for slot in busy], num_returns=len(busy), timeout=timeout_s)
        for slot in busy:
            if slot.pending not in ready:
                continue
            try:
                progress = ray.get(slot.pending)
            except ray.exceptions.RayError as error:
                self._replace(slot, device, error)
                continue
            slot.pending = None
            yield slot, progress

    def _commit(self, reports: list[tuple[Slot, Progress]]) -> None:
        finished = [(slot, progress) for slot, progress in reports if progress.results is not None]
        if finished:
            receipts = [_receipt(progress) for _, progress in finished]
            self._ledger.commit_receipts(self._study_id, self._fence, receipts)
        for slot, progress in reports:
            assert slot.pack is not None
            if progress.error is not None:
                log.error("pack %s failed: %s", progress.pack_id, progress.error)
                self._ledger.fail_pack(
                    self._study_id, slot.pack.pack_id, self._fence, progress.reason, log=progress.error
                )
                slot.pack = None
            elif progress.results is not None:
                self._store.delete(tuple(SegmentRef(**row) for row in progress.replaced))
                if progress.replaced or progress.checkpoint:
                    self._store.sweep(progress.pack_id, tuple(SegmentRef(**row) for row in progress.manifest))
                slot.pack = None
            else:
                self._record(progress)
                slot.pending = slot.actor.advance.remote(None, TURN_S)

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

    def _replace(self, slot: Slot, device: str, error: Exception) -> None:
        assert slot.pack is not None
        pack = slot.pack
        self._deaths[pack.pack_id] += 1
        reason = f"trainer died: {str(error).splitlines()[0]}"
        log.warning("pack %s: %s", pack.pack_id, reason)
        if self._deaths[pack.pack_id] >= MAX_DEATHS:
            self._ledger.fail_pack(
                self._study_id, pack.pack_id, self._fence, f"{reason} ({MAX_DEATHS} times)", log=str(error)
            )
        else:
            self._queue.extendleft(self._ledger.requeue_packs(self._study_id, [pack.pack_id], self._fence, reason))
        with contextlib.suppress(Exception):
            ray.kill(slot.actor)
        fresh = self._new_slot(device)
        slot.actor, slot.pack, slot.pending = fresh.actor, None, None

    def _wind_down(self, reason: str) -> None:
        """Let every trainer end its turn with a checkpoint, commit that, and queue the packs again."""
        log.info("stopping: %s", reason)
        deadline = time.monotonic() + 20.0
        busy = [slot for slot in self._slots if slot.pending is not None]
        final: list[tuple[Slot, Progress]] = []
        for slot, progress in self._collect(busy, "", timeout_s=max(0.0, deadline - time.monotonic())):
            if progress.results is None and progress.error is None:
                with contextlib.suppress(ray.exceptions.RayError):
                    progress = ray.get(slot.actor.advance.remote(None, 0.0, save=True), timeout=20.0)
            final.append((slot, progress))
        for slot, progress in final:
            if progress.results is None and progress.error is None:
                self._record(progress)
        self._commit([pair for pair in final if pair[1].results is not None or pair[1].error is not None])
        self._ledger.requeue_packs(self._study_id, None, self._fence, reason)

    def _outcome(self) -> TrialState:
        if self._ledger.cancel_requested(self._study_id):
            return TrialState.CANCELLED
        if self._stopping:
            return TrialState.QUEUED
        return TrialState.DONE

    def _reason_to_stop(self) -> str:
        self._heartbeat.check()
        if self._parent_pid is not None and os.getppid() != self._parent_pid:
            self._ask_to_stop("the command that started it is gone")
        if self._ledger.cancel_requested(self._study_id):
            return "cancelled"
        return self._stopping

    def _ask_to_stop(self, reason: str) -> None:
        self._stopping = self._stopping or reason

    def _new_slot(self, device: str) -> Slot:
        share = 1.0
        return Slot(start_trainer(self._places.records, str(self._places.data), device, share))

    def _check_facts(self) -> None:
        """One study, one device class: a plan made elsewhere is not continued on another kind of device."""
        planned = self._ledger.study(self._study_id).device_class
        found = ray.get(self._slots[0].actor.facts.remote()).device_class
        if planned != found:
            raise Stop(f"the study is planned for device class {planned}, this machine has {found}")

    def _device(self, asked: str) -> str:
        if asked != "auto":
            return asked
        return "cuda" if _has_gpu() else "cpu"


def _has_gpu() -> bool:
    # Without torch, which only trainers import: the driver's kernel module says whether there is a card.
    return Path("/proc/driver/nvidia/gpus").is_dir() and any(Path("/proc/driver/nvidia/gpus").iterdir())


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


__all__ = ["Driver", "StaleFence", "Stop"]

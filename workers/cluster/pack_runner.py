"""Trains packs in bounded turns and makes every chunk durable. Knows no Ray: the trainer actor holds one of these."""

import os
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from schemas.errors import CorruptRecord, PlaceError
from schemas.plugins import PluginDataset
from schemas.trials import PackTask, TrialResult, TrialState
from schemas.workloads import Analytic, LanguageModel
from workers.cluster.orders import PackOrder, Progress
from workers.data import DatasetArrays, examples_of, load
from workers.data.node_cache import load_once_per_node
from workers.plugins import PluginFailed, PluginMissing, SourceChanged, check_sources
from workers.records import CheckpointRef, Manifest, RecordStore, SegmentRef, needs_compaction, up_to
from workers.science.datasets import DataArrays
from workers.science.device import is_out_of_memory, release_memory
from workers.science.trainer import PackTrainer

OWN_PART_ERRORS = (PluginFailed, PluginMissing, SourceChanged)
"""Their messages are the reason; where in the user's code it was is in the log."""


class PackRunner:
    """One pack at a time; a turn ends between chunks."""

    def __init__(self, records_root: str, data_dir: Path | None, cache: Path | None = None) -> None:
        """`cache`: a folder by which the trainers of this node share the arrays of a data set."""
        self._store = RecordStore(records_root)
        self._data_dir, self._cache = data_dir, cache
        self._attempt: _Attempt | None = None
        self._parent = os.getppid()

    def advance(self, order: PackOrder | None, turn_s: float, *, save: bool = False) -> Progress:
        """Train for about `turn_s` seconds: the pack of `order`, or the one begun before.

        Args:
            save: make a checkpoint at the end of this turn, because the caller is about to stop.
        """
        if order is not None:
            self._attempt = None
        attempt = self._attempt
        try:
            if order is not None:
                attempt = self._attempt = _Attempt(order, self._store, self._data_dir, self._cache, self._parent)
            assert attempt is not None, "a turn without an order needs a pack that was begun"
            progress = attempt.turn(turn_s, save=save)
        except Exception as error:
            self._attempt = None
            where = order.task.pack_id if order else attempt.order.task.pack_id if attempt else ""
            number = order.attempt if order else attempt.order.attempt if attempt else 0
            failed = _failed(where, number, error)
        else:
            failed = None
        if failed is not None:
            attempt = None  # with the error gone as well, its tensors are
            release_memory()
            return failed
        if progress.results is not None:
            self._attempt = None
        return progress


class _NoData(Exception):
    """The data of a pack cannot be had; the cause says why."""


class _Attempt:
    def __init__(
        self, order: PackOrder, store: RecordStore, data_dir: Path | None, cache: Path | None, parent: int
    ) -> None:
        self.order = order
        self._store = store
        self._parent = parent
        self._began = time.monotonic()
        try:
            for member in order.task.members:
                check_sources(member.trial.plugins)
            arrays = _arrays(order.task, data_dir, cache)
        except Exception as error:
            raise _NoData from error
        self._trainer = PackTrainer(order.task, arrays, device=order.task.device)
        self._checkpoint = None if order.checkpoint is None else CheckpointRef(**order.checkpoint)
        manifest: Manifest = ()
        if self._checkpoint is not None:
            manifest = up_to(tuple(SegmentRef(**row) for row in order.manifest), self._checkpoint)
            self._trainer.load_state_dict(store.load_checkpoint(self._checkpoint))
        self._first_step = self._saved_step = self._trainer.position
        self._writer = store.writer(order.task.pack_id, order.attempt, manifest)

    def turn(self, turn_s: float, *, save: bool) -> Progress:
        deadline = time.monotonic() + turn_s
        while not self._trainer.done:
            chunk = self._trainer.run_chunk()
            self._end_if_orphaned()
            self._writer.write(chunk.first_step, chunk.last_step, chunk.tables)
            if self._is_checkpoint_due or time.monotonic() >= deadline:
                break
        if self._trainer.done:
            return self._finished()
        if save or self._is_checkpoint_due:
            return self._saved()
        return self._progress(self._writer.manifest)

    @property
    def _is_checkpoint_due(self) -> bool:
        every = self.order.task.checkpoint_steps
        return self._trainer.position // every > self._saved_step // every

    def _saved(self) -> Progress:
        """Fold the records and make a checkpoint of what they are then; until both are committed, those before count.

        Only together: a checkpoint names the last segment that was written by then, which folding takes away.
        """
        self._end_if_orphaned()
        pack_id, attempt, old = self.order.task.pack_id, self.order.attempt, self._writer.manifest
        folded = self._store.fold(pack_id, attempt, old)
        self._writer = self._store.writer(pack_id, attempt, folded)
        before, position = self._checkpoint, self._trainer.position
        self._checkpoint = self._store.save_checkpoint(pack_id, attempt, position, self._trainer.state_dict(), folded)
        self._saved_step = position
        kept = set(folded)
        return self._progress(
            folded,
            replaced=tuple(asdict(segment) for segment in old if segment not in kept),
            replaced_checkpoints=() if before is None else (asdict(before),),
        )

    def _finished(self) -> Progress:
        task, old = self.order.task, self._writer.manifest
        manifest, replaced = old, ()
        if needs_compaction(old):
            self._end_if_orphaned()
            slot_order = [member.trial.trial_id for member in task.members]
            manifest = self._store.compact(task.pack_id, self.order.attempt, old, trial_ids=slot_order)
            replaced = tuple(asdict(segment) for segment in old)
        results = [
            _result_row(result, member.slot, task.device)
            for result, member in zip(self._trainer.results(), task.members, strict=True)
        ]
        return self._progress(manifest, results=results, replaced=replaced)

    def _progress(self, manifest: Manifest, **more: object) -> Progress:
        return Progress(
            pack_id=self.order.task.pack_id,
            attempt=self.order.attempt,
            step=self._trainer.position,
            timed_steps=self._trainer.position - self._first_step,
            manifest=[asdict(segment) for segment in manifest],
            checkpoint=None if self._checkpoint is None else asdict(self._checkpoint),
            seconds=time.monotonic() - self._began,
            **more,  # type: ignore[arg-type]
        )

    def _end_if_orphaned(self) -> None:
        # Whoever started this process is gone, and another may be writing the same pack: write nothing more.
        if os.getppid() != self._parent:
            sys.stderr.write("trainer: its parent process has ended; ending before the next write\n")
            os._exit(1)


def _failed(pack_id: str, attempt: int, error: BaseException) -> Progress:
    is_of_all = isinstance(error, _NoData)
    error = error.__cause__ if is_of_all and error.__cause__ is not None else error
    is_place_error = isinstance(error, PlaceError)
    is_damaged = isinstance(error, CorruptRecord)
    speaks_for_itself = isinstance(error, OWN_PART_ERRORS) or is_place_error or is_damaged
    said = f"{error}" if speaks_for_itself else f"{type(error).__name__}: {error}"
    reason = next(iter(said.splitlines()), "")[:500]
    log = "".join(traceback.format_exception(error))
    return Progress(
        pack_id, attempt, 0, 0, [], None, 0.0,
        error=log, reason=reason, is_place_error=is_place_error, is_damaged=is_damaged,
        is_out_of_memory=is_out_of_memory(error), is_of_all=is_of_all,
        is_of_node=is_of_all and not isinstance(error, PluginFailed),
    )  # fmt: skip


def _arrays(task: PackTask, data_dir: Path | None, cache: Path | None = None) -> DataArrays | None:
    workload = task.workload
    if isinstance(workload, Analytic):
        return None
    expected = task.members[0].trial.dataset_sha256
    if cache is None or expected is None or isinstance(workload.dataset, PluginDataset):
        arrays = load(workload.dataset, data_dir)
    else:
        arrays = load_once_per_node(workload.dataset, data_dir, expected, cache)
    for member in task.members:
        if member.trial.dataset_sha256 != arrays.sha256:
            if isinstance(workload.dataset, PluginDataset):
                raise PluginFailed(
                    f"data set {workload.dataset.name}: got other arrays (sha256 {arrays.sha256[:12]}) than when the"
                    f" study was made ({str(member.trial.dataset_sha256)[:12]}), allowed the same at every call"
                )
            raise ValueError(
                f"data set {workload.dataset.kind}: its bytes on this machine (sha256 {arrays.sha256[:12]}...) are not"
                f" those of the catalog ({str(member.trial.dataset_sha256)[:12]}...); run `warmup-bench data list`"
            )
    if isinstance(workload, LanguageModel):
        return DataArrays(**examples_of(workload, arrays), num_classes=arrays.num_classes, sha256=arrays.sha256)
    assert isinstance(arrays, DatasetArrays)
    return DataArrays(
        arrays.train_x, arrays.train_y, arrays.validation_x, arrays.validation_y, arrays.test_x, arrays.test_y,
        num_classes=arrays.num_classes, sha256=arrays.sha256, pixels=arrays.pixels,
    )  # fmt: skip


def _result_row(result: TrialResult, slot: int, device: str) -> dict[str, object]:
    summary = asdict(result)
    trial_id, outcome, reason = summary.pop("trial_id"), summary.pop("outcome"), summary.pop("reason")
    return {
        "trial_id": trial_id,
        "slot": slot,
        "state": str(TrialState.DONE),
        "outcome": str(outcome),
        "reason": reason,
        "summary": {**summary, "device": device},
    }

"""From SQL rows to the frozen rows of workers.ledger.rows, and from new trials and packs to SQL rows."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Row

from schemas.trials import Outcome, TrialState
from workers.ledger.inputs import NewPack, NewTrial
from workers.ledger.rows import PackRow, PackState, StudyHead, StudyRow, TrialRow
from workers.ledger.tables import COUNTED, studies

SqlRow = Row[*tuple[Any, ...]]
"""A row of any columns."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Item = TypeVar("Item")


def moment(milliseconds: int | None) -> datetime | None:
    """UTC time of a nullable time column."""
    return None if milliseconds is None else instant(milliseconds)


def instant(milliseconds: int) -> datetime:
    """UTC time of a time column."""
    # Not fromtimestamp: that goes through a float and loses the last millisecond now and then.
    return _EPOCH + timedelta(milliseconds=milliseconds)


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """`items` in lists of at most `size`, taken lazily."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


HEAD = [column for column in studies.columns if column.name != "spec"]
"""What `study_head` reads."""


def study_row(row: SqlRow, *, replayed: bool = False) -> StudyRow:
    """A whole row of `studies`."""
    return StudyRow(**_head(row), spec=row.spec, replayed=replayed)


def study_head(row: SqlRow) -> StudyHead:
    """The columns `HEAD` of a row of `studies`."""
    return StudyHead(**_head(row))


def _head(row: SqlRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "owner": row.owner,
        "priority": row.priority,
        "state": TrialState(row.state),
        "reason": row.reason,
        "publishing": row.publishing,
        "cancel_requested": row.cancel_requested,
        "spec_hash": row.spec_hash,
        "total": row.total,
        "attempt": row.attempt,
        "continuations": row.continuations,
        "device_class": row.device_class,
        "created_at": instant(row.created_ms),
        "updated_at": instant(row.updated_ms),
        "finished_at": moment(row.finished_ms),
        "version": row.version,
        "last_event_seq": row.last_event_seq,
        "counts": {name: getattr(row, f"num_{name}") for name in COUNTED},
        "steps": row.steps,
        "steps_unfinished": row.steps_unfinished,
    }


def trial_row(row: SqlRow) -> TrialRow:
    """A whole row of `trials`."""
    # By position, in the order of the table: by name takes four times as long, and a page has a thousand rows.
    (
        _,
        study_id,
        trial_id,
        attempt,
        superseded_in,
        cell_id,
        round_number,
        num_index,
        workload,
        optimizer,
        schedule,
        peak_lr,
        seed,
        swept,
        measurement_id,
        execution_id,
        state,
        outcome,
        reason,
        summary,
        pack_id,
        slot,
        replanned,
        reused_from,
        started_ms,
        finished_ms,
        steps,
    ) = row
    return TrialRow(
        study_id,
        trial_id,
        attempt,
        superseded_in == 0,
        cell_id,
        round_number,
        num_index,
        workload,
        optimizer,
        schedule,
        peak_lr,
        seed,
        swept,
        measurement_id,
        execution_id,
        TrialState(state),
        None if outcome is None else Outcome(outcome),
        reason,
        summary,
        pack_id,
        slot,
        replanned,
        reused_from,
        moment(started_ms),
        moment(finished_ms),
        steps,
    )


def pack_row(row: SqlRow) -> PackRow:
    """A whole row of `packs`."""
    return PackRow(
        pack_id=row.pack_id,
        study_id=row.study_id,
        round=row.round,
        group_key=row.group_key,
        size=row.size,
        chunk_steps=row.chunk_steps,
        members=tuple((trial_id, slot) for trial_id, slot in row.members),
        plan=row.plan,
        execution_id=row.execution_id,
        state=PackState(row.state),
        attempt=row.attempt,
        fence=row.fence,
        step=row.step,
        manifest=row.manifest,
        checkpoint=row.checkpoint,
        reason=row.reason,
        log=row.log,
        started_at=moment(row.started_ms),
        finished_at=moment(row.finished_ms),
    )


def new_trial(study_id: str, trial: NewTrial) -> dict[str, Any]:
    """The columns of a trial that is queued for the first time."""
    return {
        "study_id": study_id,
        "trial_id": trial.trial_id,
        "attempt": 1,
        "superseded_in": 0,
        "cell_id": trial.cell_id,
        "round": trial.round,
        "num_index": trial.num_index,
        "workload": trial.workload,
        "optimizer": trial.optimizer,
        "schedule": trial.schedule,
        "peak_lr": trial.peak_lr,
        "seed": dict(trial.seed),
        "swept": dict(trial.swept),
        "measurement_id": trial.measurement_id,
        "state": TrialState.QUEUED,
        "reason": "",
        "replanned": False,
        "steps": trial.steps,
    }


def new_pack(study_id: str, round_number: int, fence: int, pack: NewPack) -> dict[str, Any]:
    """The columns of a pack that is queued for the first time."""
    return {
        "pack_id": pack.pack_id,
        "study_id": study_id,
        "round": round_number,
        "group_key": pack.group_key,
        "size": pack.size,
        "chunk_steps": pack.chunk_steps,
        "members": _pairs(pack.members),
        "plan": dict(pack.plan),
        "execution_id": pack.execution_id,
        "state": PackState.QUEUED,
        "attempt": 0,
        "fence": fence,
        "step": 0,
        "manifest": [],
        "reason": "",
        "log": "",
    }


def _pairs(members: Sequence[tuple[str, int]]) -> list[list[str | int]]:
    return [[trial_id, slot] for trial_id, slot in members]

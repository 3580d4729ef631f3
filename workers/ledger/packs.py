"""A pack's life: started, its durable position noted, queued again, failed, its records compacted."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import and_, select, update

from schemas.errors import WrongState
from schemas.trials import TrialState
from workers.ledger.inputs import PackProgress
from workers.ledger.mapping import chunks, pack_row
from workers.ledger.rows import EventKind, PackRow, PackState
from workers.ledger.store import MAX_IN_LIST, Store, StudyWrite, sources
from workers.ledger.tables import NEWEST, packs, trials
from workers.ledger.trial_moves import move_trials


def start_packs(ledger: Store, study_id: str, pack_ids: Sequence[str], fence: int) -> list[PackRow]:
    """Move queued packs and their trials to running; each pack's attempt goes up by one. Returns them as they are now.

    Raises:
        WrongState: a pack is not queued.
    """
    with ledger.write_study(study_id, fence) as work:
        values = {"state": PackState.RUNNING, "attempt": packs.c.attempt + 1, "fence": fence, "started_ms": work.now_ms}
        _move_packs(work, pack_ids, PackState.RUNNING, values)
        _move_members(work, pack_ids, TrialState.RUNNING, started_ms=work.now_ms)
        started = read_packs(work, pack_ids)
        for pack in started:
            work.event(
                EventKind.PACK_STARTED,
                pack_id=pack.pack_id,
                attempt=pack.attempt,
                step=pack.step,
                num_trials=len(pack.members),
                total_steps=pack.plan.get("total_steps", 0),
            )
        return started


def record_progress(ledger: Store, study_id: str, fence: int, progress: Sequence[PackProgress]) -> set[str]:
    """Note which records are durable, of many packs at once. Returns the packs of which it was noted: of others, that
    attempt is over.
    """
    noted = set()
    with ledger.write_study(study_id, fence) as work:
        for one in progress:
            values: dict[str, Any] = {"manifest": list(one.manifest), "step": one.step}
            if one.checkpoint is not None:
                values["checkpoint"] = dict(one.checkpoint)
            named = _named(study_id, [one.pack_id])
            mine = and_(named, packs.c.state == PackState.RUNNING, packs.c.attempt == one.attempt)
            if work.connection.execute(update(packs).where(mine).values(values)).rowcount == 1:
                work.event(EventKind.PACK_PROGRESS, pack_id=one.pack_id, attempt=one.attempt, step=one.step)
                noted.add(one.pack_id)
    return noted


def requeue_packs(
    ledger: Store,
    study_id: str,
    pack_ids: Sequence[str] | None,
    fence: int,
    reason: str,
    *,
    from_start: bool = False,
) -> list[PackRow]:
    """Queue running packs again (their actor died); None means all that run, as a driver that takes over needs.

    Packs that do not run are left alone. Returns those queued, with the manifest and checkpoint to resume from:
    none `from_start`, which forgets what was durable because it is damaged.
    """
    with ledger.write_study(study_id, fence) as work:
        return requeue_running(work, pack_ids, reason, from_start=from_start)


def requeue_running(
    work: StudyWrite, pack_ids: Sequence[str] | None, reason: str, *, from_start: bool = False
) -> list[PackRow]:
    """`requeue_packs` within a transaction."""
    begin: dict[str, Any] = {"step": 0, "manifest": [], "checkpoint": None} if from_start else {}
    running = and_(packs.c.study_id == work.study_id, packs.c.state == PackState.RUNNING)
    all_running = work.connection.execute(select(packs.c.pack_id).where(running)).scalars().all()
    queued = [pack_id for pack_id in all_running if pack_ids is None or pack_id in set(pack_ids)]
    _move_packs(work, queued, PackState.QUEUED, {"state": PackState.QUEUED, "reason": reason} | begin)
    _move_members(work, queued, TrialState.QUEUED)
    for pack_id in queued:
        work.event(EventKind.PACK_REQUEUED, pack_id=pack_id, reason=reason)
    return read_packs(work, queued)


def fail_pack(ledger: Store, study_id: str, pack_id: str, fence: int, reason: str, log: str = "") -> None:
    """End a pack that cannot be run: its unfinished trials are errored with `reason`; `log` is kept with the pack.

    Raises:
        WrongState: the pack is final.
    """
    with ledger.write_study(study_id, fence) as work:
        ended = {"reason": reason, "finished_ms": work.now_ms}
        _move_packs(work, [pack_id], PackState.ERRORED, ended | {"state": PackState.ERRORED, "log": log})
        unfinished = members_in([pack_id], sources(TrialState.ERRORED))
        failed = work.connection.execute(select(trials.c.trial_id).where(unfinished)).scalars().all()
        _move_members(work, [pack_id], TrialState.ERRORED, **ended)
        for trial_id in failed:
            work.event(EventKind.TRIAL_ERRORED, trial_id=trial_id, pack_id=pack_id, reason=reason)
        work.event(EventKind.PACK_ERRORED, pack_id=pack_id, reason=reason)


def compacted(
    ledger: Store,
    study_id: str,
    pack_id: str,
    fence: int,
    old_manifest: Sequence[Mapping[str, Any]],
    new_manifest: Sequence[Mapping[str, Any]],
) -> bool:
    """Point a done pack to its compacted records. False: it does not point to `old_manifest`, nothing was changed."""
    with ledger.write_study(study_id, fence) as work:
        done = and_(_named(study_id, [pack_id]), packs.c.state == PackState.DONE)
        present = work.connection.execute(select(packs.c.manifest).where(done)).scalar_one_or_none()
        if present != [dict(segment) for segment in old_manifest]:
            return False
        work.connection.execute(update(packs).where(done).values(manifest=list(new_manifest)))
        return True


def read_packs(work: StudyWrite, pack_ids: Sequence[str]) -> list[PackRow]:
    """The packs of these ids, in the order of the ids."""
    found: dict[str, PackRow] = {}
    for chunk in chunks(pack_ids, MAX_IN_LIST):
        for row in work.connection.execute(select(packs).where(_named(work.study_id, chunk))):
            found[row.pack_id] = pack_row(row)
    return [found[pack_id] for pack_id in pack_ids]


def _move_packs(work: StudyWrite, pack_ids: Sequence[str], target: PackState, values: Mapping[str, Any]) -> None:
    for chunk in chunks(pack_ids, MAX_IN_LIST):
        movable = and_(_named(work.study_id, chunk), packs.c.state.in_(sources(target)))
        if work.connection.execute(update(packs).where(movable).values(values)).rowcount != len(chunk):
            raise WrongState(f"study {work.study_id}: not all of {len(chunk)} packs exist and can become {target}")


def _move_members(work: StudyWrite, pack_ids: Sequence[str], target: TrialState, **values: Any) -> None:
    for chunk in chunks(pack_ids, MAX_IN_LIST):
        move_trials(work, trials.c.pack_id.in_(chunk), target, **values)


def _named(study_id: str, pack_ids: Sequence[str]) -> Any:
    return and_(packs.c.study_id == study_id, packs.c.pack_id.in_(pack_ids))


def members_in(pack_ids: Sequence[str], states: Sequence[TrialState]) -> Any:
    """The condition that finds the packs' trials in `states`, none of which may be DONE."""
    # Not by study: a planner without statistics would then read all its trials by the index on states. Trials of other
    # studies that point to these packs are reused ones, which are done and so not among `states`.
    return and_(trials.c.pack_id.in_(pack_ids), NEWEST, trials.c.state.in_(states))

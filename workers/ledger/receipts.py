"""Committing finished packs: trials final, packs done, events and timings, all in one transaction."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from schemas.trials import Outcome, TrialState
from workers.ledger.inputs import Receipt, Result
from workers.ledger.mapping import SqlRow
from workers.ledger.packs import members_in, read_packs
from workers.ledger.rows import EventKind, PackRow, PackState
from workers.ledger.store import Store, StudyWrite, move
from workers.ledger.tables import pack_timings, packs, trials

_END_TRIAL = (
    update(trials)
    .where(trials.c.row == bindparam("b_row"))
    .values(
        state=bindparam("b_state"),
        outcome=bindparam("b_outcome"),
        reason=bindparam("b_reason"),
        summary=bindparam("b_summary"),
        finished_ms=bindparam("b_finished_ms"),
    )
)
_END_PACK = (
    update(packs)
    .where(packs.c.pack_id == bindparam("b_pack_id"))
    .values(
        state=PackState.DONE,
        step=bindparam("b_step"),
        manifest=bindparam("b_manifest"),
        reason="",
        finished_ms=bindparam("b_finished_ms"),
    )
)


def commit_receipts(ledger: Store, study_id: str, fence: int, receipts: Sequence[Receipt]) -> list[str]:
    """Make finished packs and their trials final. Returns the ids of the packs that this call made final.

    A receipt of a pack that does not run, or of an earlier attempt at it, is ignored: committing twice changes nothing.

    Raises:
        StaleFence: nothing is written.
        ValueError: a receipt lacks a result of an unfinished member, or has one in another slot or without outcome.
    """
    with ledger.write_study(study_id, fence) as work:
        by_pack = {receipt.pack_id: receipt for receipt in receipts}
        ready = [
            (pack, by_pack[pack.pack_id])
            for pack in read_packs(work, list(by_pack))
            if pack.state is PackState.RUNNING and pack.attempt == by_pack[pack.pack_id].attempt
        ]
        if ready:
            _end_trials(work, ready)
            _end_packs(work, ready)
        return [pack.pack_id for pack, _ in ready]


def _end_trials(work: StudyWrite, ready: list[tuple[PackRow, Receipt]]) -> None:
    members = _unfinished_members(work, [pack.pack_id for pack, _ in ready])
    changes: list[dict[str, Any]] = []
    for pack, receipt in ready:
        results = {result["trial_id"]: result for result in receipt.results}
        for member in members.get(pack.pack_id, []):
            if member.trial_id not in results:
                raise ValueError(f"pack {pack.pack_id}: the receipt has no result of trial {member.trial_id}")
            result = results[member.trial_id]
            changes.append(_ended(member, result, work.now_ms))
            _count(work, member, changes[-1])
            _note(work, pack.pack_id, result)
    if changes:
        work.connection.execute(_END_TRIAL, changes)


def _unfinished_members(work: StudyWrite, pack_ids: list[str]) -> dict[str, list[SqlRow]]:
    columns = [trials.c[name] for name in ("row", "pack_id", "trial_id", "slot", "state", "steps")]
    query = select(*columns).where(members_in(pack_ids, [TrialState.QUEUED, TrialState.RUNNING]))
    members: dict[str, list[SqlRow]] = {}
    for row in work.connection.execute(query.order_by(trials.c.slot)):
        members.setdefault(row.pack_id, []).append(row)
    return members


def _ended(member: SqlRow, result: Result, now_ms: int) -> dict[str, Any]:
    state = TrialState(result["state"])
    move(TrialState(member.state), state, f"trial {member.trial_id}")
    outcome = None if result["outcome"] is None else Outcome(result["outcome"])
    if (state is TrialState.DONE) != (outcome is not None) or not state.is_final:
        raise ValueError(f"trial {member.trial_id}: state {state} with outcome {outcome}")
    if member.slot != result["slot"]:
        raise ValueError(f"trial {member.trial_id}: got slot {result['slot']}, planned {member.slot}")
    return {
        "b_row": member.row,
        "b_state": state,
        "b_outcome": outcome,
        "b_reason": result.get("reason", ""),
        "b_summary": dict(result["summary"]),
        "b_finished_ms": now_ms,
    }


def _count(work: StudyWrite, member: SqlRow, change: dict[str, Any]) -> None:
    work.counts.leave(TrialState(member.state), 1, member.steps)
    work.counts.enter(change["b_state"], 1, member.steps, change["b_outcome"])


def _note(work: StudyWrite, pack_id: str, result: Result) -> None:
    if result["state"] == TrialState.DONE:
        payload = {"trial_id": result["trial_id"], "pack_id": pack_id, "outcome": result["outcome"]}
        work.event(EventKind.TRIAL_DONE, **payload)
    else:
        payload = {"trial_id": result["trial_id"], "pack_id": pack_id, "reason": result.get("reason", "")}
        work.event(EventKind.TRIAL_ERRORED, **payload)


def _end_packs(work: StudyWrite, ready: list[tuple[PackRow, Receipt]]) -> None:
    ended = []
    timings = []
    for pack, receipt in ready:
        manifest = list(receipt.manifest)
        ended.append(
            {
                "b_pack_id": pack.pack_id,
                "b_step": receipt.steps,
                "b_manifest": manifest,
                "b_finished_ms": work.now_ms,
            }
        )
        timings.append(_timing(work, pack, receipt))
        work.event(
            EventKind.PACK_DONE,
            pack_id=pack.pack_id,
            attempt=pack.attempt,
            step=receipt.steps,
            seconds=receipt.seconds,
        )
    work.connection.execute(_END_PACK, ended)
    work.connection.execute(insert(pack_timings), timings)


def _timing(work: StudyWrite, pack: PackRow, receipt: Receipt) -> dict[str, Any]:
    return {
        "device_class": work.study.device_class,
        "group_key": pack.group_key,
        "size": pack.size,
        "steps": receipt.steps if receipt.timed_steps is None else receipt.timed_steps,
        "seconds": receipt.seconds,
        "recorded_ms": work.now_ms,
    }

"""Taking a finished study up again: new attempts for its cancelled and errored trials.

A final state is final: the old rows stay as they are and no longer count. Every such trial gets a new row with the next
attempt number. Where the plan put it stays: same pack, same slot, so the same bits. A cancelled pack goes on from its
checkpoint, an errored one begins again, and the errored members of a pack that is done get a pack of their own.
"""

from typing import Any

from sqlalchemy import and_, insert, literal, null, select, update

from schemas.trials import TrialState
from workers.ledger.inputs import NewPack
from workers.ledger.mapping import new_pack, pack_row, study_row
from workers.ledger.rows import EventKind, PackState, StudyRow
from workers.ledger.store import Store, StudyWrite
from workers.ledger.tables import packs, publications, studies, trials

_AGAIN = (TrialState.CANCELLED, TrialState.ERRORED)
_STARTS_ANEW: dict[str, Any] = {
    "superseded_in": literal(0),
    "state": literal(TrialState.QUEUED.value),
    "reason": literal(""),
    "outcome": null(),
    "summary": null(),
    "started_ms": null(),
    "finished_ms": null(),
}
_NOT_RUN = {"state": PackState.QUEUED, "reason": "", "finished_ms": None}


def continue_study(ledger: Store, study_id: str) -> StudyRow:
    """Queue a final study again with what it has not done; nothing happens to one that is not final or has all done.

    Raises the fence, so that a driver which is still closing down writes nothing more.
    """
    with ledger.write_study(study_id) as work:
        if TrialState(work.study.state).is_final:
            number = work.study.continuations + 1
            num_trials = _new_attempts(work, number)
            if num_trials or work.study.state != TrialState.DONE:
                _queue_packs(work)
                _give_errored_members_their_own_packs(work, number)
                _publish_again(work, number)
                _queue_study(work, number, num_trials)
        row = work.connection.execute(select(studies).where(studies.c.id == study_id)).one()
        return study_row(row)


def _new_attempts(work: StudyWrite, number: int) -> int:
    newest = and_(trials.c.study_id == work.study_id, trials.c.superseded_in == 0)
    again = and_(newest, trials.c.state.in_(_AGAIN))
    num_trials = work.connection.execute(update(trials).where(again).values(superseded_in=number)).rowcount
    names = [column.name for column in trials.columns if column.name != "row"]
    fresh = _STARTS_ANEW | {"attempt": trials.c.attempt + 1}
    copies = select(*(fresh.get(name, trials.c[name]) for name in names)).where(_superseded(work, number))
    work.connection.execute(insert(trials).from_select(names, copies))
    return num_trials


def _superseded(work: StudyWrite, number: int) -> Any:
    return and_(trials.c.study_id == work.study_id, trials.c.superseded_in == number)


def _queue_packs(work: StudyWrite) -> None:
    mine = packs.c.study_id == work.study_id
    cancelled = and_(mine, packs.c.state == PackState.CANCELLED)
    work.connection.execute(update(packs).where(cancelled).values(_NOT_RUN))
    errored = and_(mine, packs.c.state == PackState.ERRORED)
    # What it wrote before the error may be what the error spoilt.
    begin = {"step": 0, "manifest": [], "checkpoint": None}
    work.connection.execute(update(packs).where(errored).values(_NOT_RUN | begin))


def _give_errored_members_their_own_packs(work: StudyWrite, number: int) -> None:
    newest = and_(trials.c.study_id == work.study_id, trials.c.superseded_in == 0, trials.c.state == TrialState.QUEUED)
    query = (
        select(trials.c.row, trials.c.trial_id, trials.c.slot, trials.c.pack_id)
        .join(packs, packs.c.pack_id == trials.c.pack_id)
        .where(newest, packs.c.state == PackState.DONE)
    )
    members: dict[str, list[Any]] = {}
    for row in work.connection.execute(query):
        members.setdefault(row.pack_id, []).append(row)
    for pack_id, rows in members.items():
        old = pack_row(work.connection.execute(select(packs).where(packs.c.pack_id == pack_id)).one())
        pack = NewPack(
            pack_id=f"{pack_id}-{number}",
            group_key=old.group_key,
            size=old.size,
            chunk_steps=old.chunk_steps,
            members=[(row.trial_id, row.slot) for row in rows],
            execution_id=old.execution_id,
            plan=old.plan,
        )
        work.connection.execute(insert(packs), new_pack(work.study_id, old.round, work.study.attempt, pack))
        moved = trials.c.row.in_([row.row for row in rows])
        work.connection.execute(update(trials).where(moved).values(pack_id=pack.pack_id))


def _publish_again(work: StudyWrite, number: int) -> None:
    again = select(trials.c.trial_id).where(_superseded(work, number))
    theirs = and_(publications.c.study_id == work.study_id, publications.c.key.in_(again))
    work.connection.execute(update(publications).where(theirs).values(is_final=False))


def _queue_study(work: StudyWrite, number: int, num_trials: int) -> None:
    work.change(
        state=TrialState.QUEUED,
        reason="",
        cancel_requested=False,
        continuations=number,
        attempt=work.study.attempt + 1,
        finished_ms=None,
    )
    work.event(EventKind.STUDY_CONTINUED, continuation=number, num_trials=num_trials)

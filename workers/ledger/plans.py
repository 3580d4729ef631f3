"""The plan: which trial trains in which pack and slot, written once per round; and finished trials taken over."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, exists, insert, select, update

from schemas.errors import WrongState
from schemas.trials import Outcome, TrialState
from workers.ledger.inputs import NewPack, Reuse
from workers.ledger.mapping import SqlRow, chunks, new_pack, pack_row
from workers.ledger.packs import members_in
from workers.ledger.rows import EventKind, PackState
from workers.ledger.store import CHUNK_ROWS, MAX_IN_LIST, Store, StudyWrite
from workers.ledger.tables import NEWEST, packs, rounds, studies, trials

_PLACE_TRIAL = (
    update(trials)
    .where(trials.c.row == bindparam("b_row"))
    .values(
        pack_id=bindparam("b_pack_id"),
        slot=bindparam("b_slot"),
        execution_id=bindparam("b_execution_id"),
        replanned=bindparam("b_replanned"),
        state=TrialState.QUEUED,
    )
)
_TAKE_OVER = (
    update(trials)
    .where(trials.c.row == bindparam("b_row"))
    .values(
        {
            name: bindparam(f"b_{name}")
            for name in (
                "pack_id",
                "slot",
                "execution_id",
                "state",
                "outcome",
                "reason",
                "summary",
                "reused_from",
                "finished_ms",
            )
        }
    )
)


def has_plan(ledger: Store, study_id: str, round_number: int) -> bool:
    """Whether the round's plan is written."""
    with ledger.read() as connection:
        query = select(rounds.c.planned_ms).where(rounds.c.study_id == study_id, rounds.c.round == round_number)
        return connection.execute(query).scalar_one_or_none() is not None


def find_reusable(ledger: Store, study_id: str, keys: Iterable[tuple[str, str, str]]) -> dict[str, Reuse]:
    """Finished trials with these (trial_id, measurement_id, execution_id), by trial id.

    Only those in studies of the owner of `study_id`: what somebody may not read is not handed to them either.
    """
    found: dict[str, Reuse] = {}
    owner = select(studies.c.owner).where(studies.c.id == study_id).scalar_subquery()
    with ledger.read() as connection:
        for chunk in chunks(keys, MAX_IN_LIST):
            wanted = {trial_id: (measurement_id, execution_id) for trial_id, measurement_id, execution_id in chunk}
            for row in _finished(connection, list(wanted), owner):
                if wanted[row.trial_id] == (row.measurement_id, row.execution_id):
                    found[row.trial_id] = Reuse(row.trial_id, row.study_id, row.execution_id)
    return found


def may_be_all_reused(ledger: Store, study_id: str) -> bool:
    """Whether every waiting trial of the study has a finished twin (same trial and measurement ids, same owner).

    Cheap, and short of `find_reusable`: on which machine the twins were trained is not asked.
    """
    twin, of_twin = trials.alias("twin"), studies.alias("of_twin")
    finished = exists().where(
        twin.c.trial_id == trials.c.trial_id,
        twin.c.measurement_id == trials.c.measurement_id,
        twin.c.state == TrialState.DONE,
        twin.c.superseded_in == 0,
        of_twin.c.id == twin.c.study_id,
        of_twin.c.owner == studies.c.owner,
    )
    waiting = and_(trials.c.study_id == study_id, trials.c.superseded_in == 0, trials.c.state == TrialState.QUEUED)
    to_train = select(trials.c.row).join(studies, studies.c.id == trials.c.study_id).where(waiting, ~finished).limit(1)
    with ledger.read() as connection:
        return connection.execute(to_train).first() is None


def write_plan(
    ledger: Store,
    study_id: str,
    round_number: int,
    packs: Iterable[NewPack],
    fence: int,
    device_class: str,
    *,
    reused: Sequence[Reuse] = (),
) -> None:
    """Write a round's whole plan in one transaction: every trial of the round is in one pack, or reused.

    Raises:
        WrongState: the round has a plan, or the study is planned for another device class.
        ValueError: a trial is missing, placed twice, not waiting, or its source is no finished trial of the same ids.
    """
    with ledger.write_study(study_id, fence) as work:
        _mark_planned(work, round_number, device_class)
        planned = list(packs)
        waiting = _waiting_trials(work, round_number)
        placed = [trial_id for pack in planned for trial_id, _ in pack.members]
        _check_covered(waiting, placed + [reuse.trial_id for reuse in reused])
        _insert_packs(work, round_number, planned, waiting)
        _take_over(work, reused, waiting)
        work.event(
            EventKind.PLAN_WRITTEN,
            round=round_number,
            device_class=device_class,
            num_packs=len(planned),
            num_trials=len(placed),
            num_reused=len(reused),
            total_steps=sum(pack.plan.get("total_steps", 0) for pack in planned),
        )


def replan(ledger: Store, study_id: str, pack_id: str, new: Sequence[NewPack], fence: int, *, reason: str = "") -> None:
    """Replace a pack that could not be run as planned: its trials are queued again in `new`.

    Those whose bits that changes (another `execution_id`) are marked `replanned`.

    Raises:
        WrongState: the pack is final.
        ValueError: `new` does not hold exactly the pack's unfinished members.
    """
    with ledger.write_study(study_id, fence) as work:
        query = select(packs).where(packs.c.pack_id == pack_id, packs.c.study_id == study_id)
        old = pack_row(work.connection.execute(query).one())
        if not old.state.can_become(PackState.SUPERSEDED):
            raise WrongState(f"pack {pack_id} is {old.state} and cannot be replanned")
        unfinished = members_in([pack_id], [TrialState.QUEUED, TrialState.RUNNING])
        members = _by_id(work, unfinished)
        _check_covered(members, [trial_id for pack in new for trial_id, _ in pack.members])
        ended = {"state": PackState.SUPERSEDED, "reason": reason, "finished_ms": work.now_ms}
        work.connection.execute(update(packs).where(packs.c.pack_id == pack_id).values(ended))
        _insert_packs(work, old.round, new, members, planned_before=old.execution_id)
        for member in members.values():
            work.counts.leave(TrialState(member.state), 1, member.steps)
            work.counts.enter(TrialState.QUEUED, 1, member.steps)
        into = [pack.pack_id for pack in new]
        work.event(EventKind.PACK_REPLANNED, pack_id=pack_id, into=into, reason=reason)


def _mark_planned(work: StudyWrite, round_number: int, device_class: str) -> None:
    where = and_(rounds.c.study_id == work.study_id, rounds.c.round == round_number)
    unplanned = update(rounds).where(where, rounds.c.planned_ms.is_(None)).values(planned_ms=work.now_ms)
    if work.connection.execute(unplanned).rowcount != 1:
        raise WrongState(f"study {work.study_id}: round {round_number} has a plan already, or does not exist")
    if work.study.device_class is None:
        work.change(device_class=device_class)
    elif work.study.device_class != device_class:
        raise WrongState(f"study {work.study_id} is planned for {work.study.device_class}, this is {device_class}")


def _waiting_trials(work: StudyWrite, round_number: int) -> dict[str, SqlRow]:
    of_round = and_(trials.c.study_id == work.study_id, trials.c.round == round_number)
    return _by_id(work, and_(of_round, NEWEST, trials.c.state == TrialState.QUEUED))


def _by_id(work: StudyWrite, which: Any) -> dict[str, SqlRow]:
    columns = [trials.c[name] for name in ("row", "trial_id", "measurement_id", "state", "steps", "replanned")]
    return {row.trial_id: row for row in work.connection.execute(select(*columns).where(which))}


def _check_covered(waiting: dict[str, SqlRow], placed: list[str]) -> None:
    twice = [trial_id for trial_id, times in Counter(placed).items() if times > 1]
    missing = waiting.keys() - set(placed)
    unknown = set(placed) - waiting.keys()
    if twice or missing or unknown:
        raise ValueError(f"plan: {len(twice)} trials placed twice, {len(missing)} missing, {len(unknown)} not waiting")


def _insert_packs(
    work: StudyWrite,
    round_number: int,
    new: Sequence[NewPack],
    rows: dict[str, SqlRow],
    *,
    planned_before: str | None = None,
) -> None:
    for pack_chunk in chunks(new, CHUNK_ROWS):
        rows_of_packs = [new_pack(work.study_id, round_number, work.study.attempt, pack) for pack in pack_chunk]
        work.connection.execute(insert(packs), rows_of_packs)
    placements = (
        {
            "b_row": rows[trial_id].row,
            "b_pack_id": pack.pack_id,
            "b_slot": slot,
            "b_execution_id": pack.execution_id,
            "b_replanned": rows[trial_id].replanned or planned_before not in (None, pack.execution_id),
        }
        for pack in new
        for trial_id, slot in pack.members
    )
    for placement_chunk in chunks(placements, CHUNK_ROWS):
        work.connection.execute(_PLACE_TRIAL, placement_chunk)


def _take_over(work: StudyWrite, reused: Sequence[Reuse], rows: dict[str, SqlRow]) -> None:
    for chunk in chunks(reused, MAX_IN_LIST):
        found = _finished(work.connection, [reuse.trial_id for reuse in chunk], work.study.owner)
        sources = {(row.trial_id, row.study_id, row.execution_id, row.measurement_id): row for row in found}
        changes = []
        for reuse in chunk:
            mine = rows[reuse.trial_id]
            key = (reuse.trial_id, reuse.source_study_id, reuse.execution_id, mine.measurement_id)
            if key not in sources:
                raise ValueError(
                    f"trial {reuse.trial_id}: study {reuse.source_study_id} has no finished one of the same ids"
                )
            changes.append(_taken_over(mine.row, sources[key], work.now_ms))
            work.counts.leave(TrialState.QUEUED, 1, mine.steps)
            work.counts.enter(TrialState.DONE, 1, mine.steps, Outcome(sources[key].outcome))
            payload = {
                "trial_id": reuse.trial_id,
                "outcome": sources[key].outcome,
                "reused_from": reuse.source_study_id,
            }
            work.event(EventKind.TRIAL_DONE, **payload)
        work.connection.execute(_TAKE_OVER, changes)


def _taken_over(row_number: int, source: SqlRow, now_ms: int) -> dict[str, Any]:
    same = ("pack_id", "slot", "execution_id", "outcome", "reason", "summary")
    return {
        "b_row": row_number,
        "b_state": TrialState.DONE,
        "b_reused_from": source.study_id,
        "b_finished_ms": now_ms,
        **{f"b_{name}": getattr(source, name) for name in same},
    }


def _finished(connection: Connection, trial_ids: list[str], owner: Any) -> Sequence[SqlRow]:
    query = (
        select(trials)
        .join(studies, studies.c.id == trials.c.study_id)
        .where(
            trials.c.trial_id.in_(trial_ids),
            NEWEST,
            trials.c.state == TrialState.DONE,
            studies.c.owner == owner,
        )
        .order_by(trials.c.row)
    )
    return connection.execute(query).all()

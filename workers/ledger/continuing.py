"""Taking a finished study up again, as it was or with more trials: new attempts for the cancelled and errored ones.

A final state is final: the old rows stay as they are and no longer count. Every such trial gets a new row with the next
attempt number. Where the plan put it stays: same pack, same slot, so the same bits. A cancelled pack goes on from its
checkpoint, an errored one begins again, and the errored members of a pack that is done get a pack of their own.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ColumnElement, and_, func, insert, literal, null, select, update

from schemas.errors import WrongState
from schemas.study_budget import BUDGET_USED_UP
from schemas.trials import TrialState
from workers.ledger.dialect import hold
from workers.ledger.idempotency import AnsweredBefore, extension_answer, hold_key, made_before, remember
from workers.ledger.inputs import Idempotency, NewPack, NewTrial, Quota
from workers.ledger.leases import is_driven
from workers.ledger.mapping import new_pack, pack_row, study_row
from workers.ledger.rounds import add_next_round
from workers.ledger.rows import EventKind, PackState, StudyRow
from workers.ledger.store import Store, StudyWrite
from workers.ledger.submitting import check_growth, usage_now
from workers.ledger.tables import NEWEST, packs, publications, rounds, studies, trials

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


Asked = tuple[str, Idempotency]
"""An owner, and the idempotency key of its request."""


def continue_study(ledger: Store, study_id: str, *, quota: Quota | None = None, asked: Asked | None = None) -> StudyRow:
    """Queue a final study again with what it has not done; nothing happens to one that is not final or has all done,
    nor to one whose budget is used up.

    Raises the fence, so that a driver which is still closing down writes nothing more.

    Args:
        asked: the request that is answered with this, as an extension by nothing.

    Raises:
        QuotaExceeded: the key that it came with would have more unfinished than `quota` allows. AnsweredBefore.
    """
    with ledger.write_study(study_id) as work:
        _refuse_if_answered(work, asked)
        with _within(work, quota):
            if TrialState(work.study.state).is_final and not _has_spent_its_budget(work):
                num_trials = _take_up(work)
                if num_trials or work.study.state != TrialState.DONE:
                    _queue_study(work, num_trials)
        return _answered(work, asked, None, 0)


def change_budget(
    ledger: Store,
    study_id: str,
    *,
    spec: Mapping[str, Any],
    spec_hash: str,
    was_spec_hash: str,
    quota: Quota | None = None,
    asked: Asked | None = None,
) -> StudyRow:
    """Give a study `spec`, which allows it another budget; a final one is queued again with what it has not done.

    Raises:
        WrongState, QuotaExceeded, AnsweredBefore: as `extend_study`.
    """
    with ledger.write_study(study_id) as work:
        _refuse_if_answered(work, asked)
        _refuse_if_under_way(work, was_spec_hash)
        with _within(work, quota):
            if TrialState(work.study.state).is_final and (num_trials := _take_up(work)):
                _queue_study(work, num_trials)
            work.change(spec=dict(spec), spec_hash=spec_hash)
        return _answered(work, asked, None, 0)


def _has_spent_its_budget(work: StudyWrite) -> bool:
    if work.study.state != TrialState.DONE:
        return False
    query = select(studies.c.reason, studies.c.num_errored).where(studies.c.id == work.study_id)
    row = work.connection.execute(query).one()
    return bool(row.reason.startswith(BUDGET_USED_UP) and not row.num_errored)


def _refuse_if_under_way(work: StudyWrite, was_spec_hash: str) -> None:
    state = TrialState(work.study.state)
    if not state.is_final and (state is TrialState.RUNNING or is_driven(work)):
        raise WrongState(
            f"study {work.study_id} is running and cannot be extended now; wait until it is done, or cancel it first"
        )
    if work.study.spec_hash != was_spec_hash:
        raise WrongState(f"study {work.study_id} was extended by somebody else meanwhile; look at it, then extend it")


def extend_study(
    ledger: Store,
    study_id: str,
    *,
    spec: Mapping[str, Any],
    spec_hash: str,
    was_spec_hash: str,
    body: Mapping[str, Any],
    trials: Iterable[NewTrial],
    quota: Quota | None = None,
    asked: Asked | None = None,
) -> StudyRow:
    """Widen a study: `trials` become its next round (kind `extend`), `spec` its spec; a final one is queued again.

    What a final study had left cancelled or errored is taken up too. All of it in one transaction.

    Raises:
        WrongState: it runs or a driver holds it, or its spec is not the one (`was_spec_hash`) that `trials` add to.
        QuotaExceeded: the key that it came with would have more unfinished than `quota` allows.
        AnsweredBefore: the request `asked` has been answered meanwhile.
        ValueError: a trial does not carry the number of the round.
    """
    with ledger.write_study(study_id) as work:
        _refuse_if_answered(work, asked)
        _refuse_if_under_way(work, was_spec_hash)
        with _within(work, quota):
            if TrialState(work.study.state).is_final:
                _queue_study(work, _take_up(work))
            number = add_next_round(work, "extend", body, trials)
            _say_unpublished(work, publications.c.key.in_(_cells_of_round(work, number)))
            work.change(spec=dict(spec), spec_hash=spec_hash)
        return _answered(work, asked, number, _num_trials_of(work, number))


def _refuse_if_answered(work: StudyWrite, asked: Asked | None) -> None:
    if asked is not None:
        hold_key(work.connection, *asked)
        if made_before(work.connection, *asked) is not None:
            raise AnsweredBefore


def _answered(work: StudyWrite, asked: Asked | None, number: int | None, num_new: int) -> StudyRow:
    """The study as it is now, which `asked` is answered with whenever it comes again."""
    work.flush()
    row = work.connection.execute(select(studies).where(studies.c.id == work.study_id)).one()
    if asked is not None:
        remember(work.connection, *asked, work.study_id, extension_answer(row, number, num_new))
    return study_row(row)


def _num_trials_of(work: StudyWrite, number: int) -> int:
    query = select(rounds.c.num_trials).where(rounds.c.study_id == work.study_id, rounds.c.round == number)
    return int(work.connection.execute(query).scalar_one())


@contextmanager
def _within(work: StudyWrite, quota: Quota | None) -> Iterator[None]:
    """Refuse what the block adds where it is over the quota of the key that the study came with.

    That key's submissions wait meanwhile.
    """
    if quota is None:
        yield
        return
    hold(work.connection, f"quota {work.study.key_id}")
    before = usage_now(work.connection, work.study.key_id)
    yield
    work.flush()
    check_growth(quota, before, usage_now(work.connection, work.study.key_id))


def _take_up(work: StudyWrite) -> int:
    """New attempts for what is not done; the number of them."""
    number = work.study.continuations + 1
    num_trials = _new_attempts(work, number)
    if num_trials or work.study.state != TrialState.DONE:
        _queue_packs(work)
        _give_errored_members_their_own_packs(work, number)
        _publish_again(work, number)
    return num_trials


def _new_attempts(work: StudyWrite, number: int) -> int:
    again = and_(trials.c.study_id == work.study_id, NEWEST, trials.c.state.in_(_AGAIN))
    by_state = select(trials.c.state, func.count(), func.sum(trials.c.steps)).where(again).group_by(trials.c.state)
    for state, num_trials, steps in work.connection.execute(by_state).all():
        work.counts.leave(TrialState(state), num_trials, int(steps))
        work.counts.enter(TrialState.QUEUED, num_trials, int(steps))
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
    newest = and_(trials.c.study_id == work.study_id, NEWEST, trials.c.state == TrialState.QUEUED)
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
    for key in (trials.c.trial_id, trials.c.cell_id):
        _say_unpublished(work, publications.c.key.in_(select(key).where(_superseded(work, number))))


def _cells_of_round(work: StudyWrite, number: int) -> Any:
    return select(trials.c.cell_id).where(trials.c.study_id == work.study_id, trials.c.round == number)


def _say_unpublished(work: StudyWrite, keys: ColumnElement[bool]) -> None:
    """Runs of these keys in the tracker are there, and no longer whole."""
    theirs = and_(publications.c.study_id == work.study_id, keys)
    work.connection.execute(update(publications).where(theirs).values(is_final=False))


def _queue_study(work: StudyWrite, num_trials: int) -> None:
    number = work.study.continuations + 1
    work.change(
        state=TrialState.QUEUED,
        reason="",
        cancel_requested=False,
        continuations=number,
        attempt=work.study.attempt + 1,
        finished_ms=None,
    )
    _say_unpublished(work, publications.c.key == work.study_id)  # its own run has the report of before
    work.event(EventKind.STUDY_CONTINUED, continuation=number, num_trials=num_trials)

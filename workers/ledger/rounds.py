"""Rounds: a study's list of trials only grows, one round at a time."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import and_, func, insert, select, update

from schemas.errors import WrongState
from schemas.trials import TrialState
from workers.ledger.dialect import insert_many
from workers.ledger.inputs import NewTrial
from workers.ledger.mapping import chunks, moment, new_trial
from workers.ledger.rows import EventKind, RoundRow
from workers.ledger.store import CHUNK_ROWS, Store, StudyWrite
from workers.ledger.tables import NEWEST, rounds, trials


def append_round(
    ledger: Store,
    study_id: str,
    kind: str,
    body: Mapping[str, Any],
    trials: Iterable[NewTrial],
    *,
    fence: int | None = None,
) -> int:
    """Add a round to a study that is not final; returns its number, which the new trials must carry."""
    with ledger.write_study(study_id, fence) as work:
        if TrialState(work.study.state).is_final:
            raise WrongState(f"study {study_id} is {work.study.state}; continue it before adding a round")
        return add_next_round(work, kind, body, trials)


def study_rounds(ledger: Store, study_id: str) -> list[RoundRow]:
    """The study's rounds, in order."""
    query = select(rounds).where(rounds.c.study_id == study_id).order_by(rounds.c.round)
    with ledger.read() as connection:
        return [
            RoundRow(row.round, row.kind, row.body, row.num_trials, moment(row.planned_ms))
            for row in connection.execute(query)
        ]


def steps_of_round(ledger: Store, study_id: str, number: int) -> int:
    """Updates that the trials of one round make in full, each counted once however often it was attempted."""
    query = select(func.sum(trials.c.steps)).where(trials.c.study_id == study_id, trials.c.round == number, NEWEST)
    with ledger.read() as connection:
        return int(connection.execute(query).scalar_one() or 0)


def add_next_round(work: StudyWrite, kind: str, body: Mapping[str, Any], new: Iterable[NewTrial]) -> int:
    """`append_round` within a transaction, whatever the study's state."""
    newest = select(func.max(rounds.c.round)).where(rounds.c.study_id == work.study_id)
    number = int(work.connection.execute(newest).scalar_one()) + 1
    num_trials, steps = add_round(work, number, kind, body, new)
    work.change(total=work.study.total + num_trials, steps=work.study.steps + steps)
    work.event(EventKind.ROUND_ADDED, round=number, round_kind=kind, num_trials=num_trials)
    return number


def add_round(
    work: StudyWrite, number: int, kind: str, body: Mapping[str, Any], new: Iterable[NewTrial]
) -> tuple[int, int]:
    """Insert a round and its trials; the number of trials, and of the steps that they make in full."""
    key = {"study_id": work.study_id, "round": number}
    values = {"kind": kind, "body": dict(body), "num_trials": 0, "created_ms": work.now_ms}
    work.connection.execute(insert(rounds), key | values)
    num_trials = steps = 0
    for chunk in chunks(new, CHUNK_ROWS):
        if any(trial.round != number for trial in chunk):
            raise ValueError(f"trials: a trial does not carry its round's number {number}")
        insert_many(work.connection, trials, [new_trial(work.study_id, trial) for trial in chunk])
        num_trials += len(chunk)
        steps += sum(trial.steps for trial in chunk)
    where = and_(rounds.c.study_id == work.study_id, rounds.c.round == number)
    work.connection.execute(update(rounds).where(where).values(num_trials=num_trials))
    work.counts.enter(TrialState.QUEUED, num_trials, steps)
    return num_trials, steps

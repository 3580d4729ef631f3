"""Creating a study: whole or not at all, once per idempotency key, within the quota of the key that it comes with."""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, func, insert, select

from schemas.errors import QuotaExceeded
from schemas.trials import TrialState
from workers.ledger.dialect import hold
from workers.ledger.idempotency import hold_key, made_before, remember
from workers.ledger.inputs import Idempotency, NewTrial, Quota
from workers.ledger.mapping import study_row
from workers.ledger.rounds import add_round
from workers.ledger.rows import EventKind, StudyRow, Usage
from workers.ledger.store import Store, StudyWrite, clock_ms
from workers.ledger.tables import studies

_UNFINISHED = (TrialState.QUEUED, TrialState.RUNNING)


def create_study(
    ledger: Store,
    *,
    name: str,
    spec: Mapping[str, Any],
    spec_hash: str,
    trials: Iterable[NewTrial],
    total: int,
    owner: str = "local",
    key_id: str = "",
    priority: int = 0,
    idempotency: Idempotency | None = None,
    quota: Quota | None = None,
) -> StudyRow:
    """A new study with round 0, its trials and its first event, in one transaction. `trials` may be a generator.

    With an idempotency key that its owner has used for the same body: the study made then, marked `replayed`. Of
    several that come with one at once, one creates and the others wait for its study. With a quota, submissions with
    one API key take turns, so that together they cannot exceed it.

    Args:
        key_id: the API key that it comes with, whose quota it counts against; empty where there is none.

    Raises:
        IdempotencyConflict: the owner has used the idempotency key for another body.
        QuotaExceeded: the API key would have more unfinished than `quota` allows.
        ValueError: `trials` did not hold `total` trials.
        sqlalchemy.exc.IntegrityError: a trial id or a position occurs twice.
    """
    study_id = secrets.token_hex(8)
    with ledger.write() as connection:
        if idempotency is not None:
            hold_key(connection, owner, idempotency)
            if (earlier := made_before(connection, owner, idempotency)) is not None:
                return study_row(earlier, replayed=True)
        if quota is not None:
            hold(connection, f"quota {key_id}")
        now = clock_ms(connection)
        row = {
            "id": study_id,
            "name": name,
            "owner": owner,
            "key_id": key_id,
            "priority": priority,
            "state": TrialState.QUEUED,
            "reason": "",
            "publishing": "current",
            "cancel_requested": False,
            "spec": dict(spec),
            "spec_hash": spec_hash,
            "total": total,
            "attempt": 0,
            "continuations": 0,
            "last_event_seq": 0,
            "created_ms": now,
            "updated_ms": now,
        }
        if quota is not None:
            before = usage_now(connection, key_id)
            _check("studies_queued", before.num_queued, 1, quota.studies_queued)
            _check("trials_unfinished", before.num_trials_unfinished, total, quota.trials_unfinished)
        connection.execute(insert(studies), row)
        work = StudyWrite(connection, study_id, None)
        num_trials, steps = add_round(work, 0, "product", {}, trials)
        if num_trials != total:
            raise ValueError(f"trials: got {num_trials}, allowed exactly total={total}")
        if quota is not None:  # known only now, since the trials may be a generator
            _check("steps_unfinished", before.steps_unfinished, steps, quota.steps_unfinished)
        work.change(steps=steps)
        work.event(EventKind.STUDY_CREATED, name=name, total=total)
        work.flush()
        if idempotency is not None:
            remember(connection, owner, idempotency, study_id)
        return study_row(connection.execute(select(studies).where(studies.c.id == study_id)).one())


def usage(ledger: Store, key_id: str) -> Usage:
    """What is unfinished of what came with that API key."""
    with ledger.read() as connection:
        return usage_now(connection, key_id)


def usage_of_study(ledger: Store, study_id: str) -> Usage:
    """What is unfinished of what came with the API key of that study (all zero where there is no such study)."""
    with ledger.read() as connection:
        query = select(studies.c.key_id).where(studies.c.id == study_id)
        return usage_now(connection, connection.execute(query).scalar_one_or_none() or "")


def usage_now(connection: Connection, key_id: str) -> Usage:
    """`usage` within a transaction."""
    unfinished = func.sum(studies.c.num_queued + studies.c.num_running)
    query = (
        select(studies.c.state, func.count(), unfinished, func.sum(studies.c.steps_unfinished))
        .where(studies.c.key_id == key_id, studies.c.state.in_(_UNFINISHED))
        .group_by(studies.c.state)
    )
    number: dict[str, int] = dict.fromkeys(_UNFINISHED, 0)
    num_trials = steps = 0
    for state, num_studies, trials_of_state, steps_of_state in connection.execute(query):
        number[state] = num_studies
        num_trials += int(trials_of_state)
        steps += int(steps_of_state)
    return Usage(number[TrialState.QUEUED], number[TrialState.RUNNING], num_trials, steps)


def check_growth(quota: Quota, before: Usage, now: Usage) -> None:
    """Refuse what has been added to a key's unfinished work, where it is over the quota.

    Raises:
        QuotaExceeded.
    """
    for name, used, ends_with, allowed in (
        ("studies_queued", before.num_queued, now.num_queued, quota.studies_queued),
        ("trials_unfinished", before.num_trials_unfinished, now.num_trials_unfinished, quota.trials_unfinished),
        ("steps_unfinished", before.steps_unfinished, now.steps_unfinished, quota.steps_unfinished),
    ):
        if ends_with > used:
            _check(name, used, ends_with - used, allowed)


def _check(quota: str, used: int, asked: int, allowed: int | None) -> None:
    if allowed is not None and used + asked > allowed:
        raise QuotaExceeded(quota, used, asked, allowed)

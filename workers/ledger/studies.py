"""Studies: created whole, found, listed, moved from state to state."""

import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from sqlalchemy import Connection, and_, func, insert, or_, select, update

from schemas.errors import StudyNotFound, WrongState
from schemas.trials import TrialState
from workers.ledger.inputs import NewTrial
from workers.ledger.mapping import chunks, moment, new_trial, study_row
from workers.ledger.rows import EventKind, PackState, RoundRow, StudyRow
from workers.ledger.store import CHUNK_ROWS, Store, StudyWrite, clock_ms, move, sources
from workers.ledger.tables import packs, rounds, studies, trials

MAX_LIST = 1_000
"""Studies in one page of a list."""


def create_study(
    ledger: Store,
    *,
    name: str,
    spec: Mapping[str, Any],
    spec_hash: str,
    trials: Iterable[NewTrial],
    total: int,
    owner: str = "local",
    priority: int = 0,
) -> StudyRow:
    """A new study with round 0, its trials and its first event, in one transaction. `trials` may be a generator.

    Raises:
        ValueError: `trials` did not hold `total` trials.
        sqlalchemy.exc.IntegrityError: a trial id or a position occurs twice.
    """
    study_id = secrets.token_hex(8)
    with ledger.write() as connection:
        now = clock_ms(connection)
        row = {
            "id": study_id,
            "name": name,
            "owner": owner,
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
        connection.execute(insert(studies), row)
        work = StudyWrite(connection, study_id, None)
        num_trials = _add_round(work, 0, "product", {}, trials)
        if num_trials != total:
            raise ValueError(f"trials: got {num_trials}, allowed exactly total={total}")
        work.event(EventKind.STUDY_CREATED, name=name, total=total)
        work.flush()
        return _read_study(connection, study_id)


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
            raise WrongState(f"study {study_id} is {work.study.state}: continue it before a round is added")
        newest = select(func.max(rounds.c.round)).where(rounds.c.study_id == study_id)
        number = int(work.connection.execute(newest).scalar_one()) + 1
        num_trials = _add_round(work, number, kind, body, trials)
        work.change(total=work.study.total + num_trials)
        work.event(EventKind.ROUND_ADDED, round=number, round_kind=kind, num_trials=num_trials)
        return number


def _add_round(work: StudyWrite, number: int, kind: str, body: Mapping[str, Any], new: Iterable[NewTrial]) -> int:
    key = {"study_id": work.study_id, "round": number}
    values = {"kind": kind, "body": dict(body), "num_trials": 0, "created_ms": work.now_ms}
    work.connection.execute(insert(rounds), key | values)
    num_trials = 0
    for chunk in chunks(new, CHUNK_ROWS):
        if any(trial.round != number for trial in chunk):
            raise ValueError(f"trials: a trial does not carry its round's number {number}")
        work.connection.execute(insert(trials), [new_trial(work.study_id, trial) for trial in chunk])
        num_trials += len(chunk)
    where = and_(rounds.c.study_id == work.study_id, rounds.c.round == number)
    work.connection.execute(update(rounds).where(where).values(num_trials=num_trials))
    return num_trials


def study(ledger: Store, id_or_prefix: str) -> StudyRow:
    """The study of that id, or of that unique beginning of an id.

    Raises:
        StudyNotFound: none, or several.
    """
    if not re.fullmatch(r"[0-9a-f]{1,16}", id_or_prefix):
        raise StudyNotFound(f"no study {id_or_prefix!r}: an id is 16 hexadecimal digits, or the first few of them")
    with ledger.read() as connection:
        # A range, not LIKE: it uses the index on every backend. "g" follows every hex digit.
        starts = and_(studies.c.id >= id_or_prefix, studies.c.id < id_or_prefix + "g")
        found = connection.execute(select(studies.c.id).where(starts).limit(5)).scalars().all()
        if len(found) != 1:
            several = f": several begin so ({', '.join(found)})" if found else " in this ledger"
            raise StudyNotFound(
                f"no one study {id_or_prefix}{several}" if found else f"no study {id_or_prefix}{several}"
            )
        return _read_study(connection, found[0])


def study_by_spec_hash(ledger: Store, spec_hash: str, *, owner: str | None = None) -> StudyRow | None:
    """The newest study of that resolved spec (of `owner`, where given)."""
    query = select(studies).where(studies.c.spec_hash == spec_hash)
    if owner is not None:
        query = query.where(studies.c.owner == owner)
    with ledger.read() as connection:
        row = connection.execute(query.order_by(studies.c.created_ms.desc(), studies.c.id.desc()).limit(1)).first()
        return None if row is None else study_row(row)


def list_studies(
    ledger: Store, limit: int = 50, cursor: str | None = None, *, owner: str | None = None
) -> tuple[list[StudyRow], str | None]:
    """One page, newest first, and the cursor of the next page (None: this was the last).

    Raises:
        ValueError: a limit outside 1 to 1,000, or a cursor that no list gave.
    """
    if not 1 <= limit <= MAX_LIST:
        raise ValueError(f"limit: got {limit}, allowed 1 to {MAX_LIST}")
    query = select(studies).order_by(studies.c.created_ms.desc(), studies.c.id.desc()).limit(limit + 1)
    if owner is not None:
        query = query.where(studies.c.owner == owner)
    if cursor is not None:
        created_ms, study_id = _read_cursor(cursor)
        at_once = and_(studies.c.created_ms == created_ms, studies.c.id < study_id)
        query = query.where(or_(studies.c.created_ms < created_ms, at_once))
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    page = [study_row(row) for row in rows[:limit]]
    return page, (f"{rows[limit - 1].created_ms}-{rows[limit - 1].id}" if len(rows) > limit else None)


def _read_cursor(cursor: str) -> tuple[int, str]:
    match = re.fullmatch(r"(\d{1,18})-([0-9a-f]{16})", cursor)
    if match is None:
        raise ValueError(f"cursor: got {cursor[:100]!r}, allowed what an earlier page gave")
    return int(match[1]), match[2]


def study_rounds(ledger: Store, study_id: str) -> list[RoundRow]:
    """The study's rounds, in order."""
    query = select(rounds).where(rounds.c.study_id == study_id).order_by(rounds.c.round)
    with ledger.read() as connection:
        return [
            RoundRow(row.round, row.kind, row.body, row.num_trials, moment(row.planned_ms))
            for row in connection.execute(query)
        ]


def set_study_state(
    ledger: Store, study_id: str, state: TrialState, *, reason: str = "", fence: int | None = None
) -> None:
    """Move the study; the state that it has already is no move. A final study has only final trials: `cancelled` and
    `errored` cancel what remains, `done` needs nothing to remain.

    Raises:
        WrongState: the move is not allowed, or trials remain.
    """
    with ledger.write_study(study_id, fence) as work:
        if TrialState(work.study.state) is not TrialState(state):
            move_study(work, TrialState(state), reason)


def move_study(work: StudyWrite, state: TrialState, reason: str) -> None:
    """`set_study_state` within a transaction."""
    move(TrialState(work.study.state), state, f"study {work.study_id}")
    if state is TrialState.DONE and (num_left := _num_unfinished(work)):
        raise WrongState(f"study {work.study_id} cannot be done: {num_left} trials are not final")
    if state in (TrialState.CANCELLED, TrialState.ERRORED):
        cancel_rest(work, reason or f"study {state}")
    work.change(state=state, reason=reason, finished_ms=work.now_ms if state.is_final else None)
    work.event(EventKind(f"study_{state}"), **({"reason": reason} if reason else {}))


def cancel_remaining(ledger: Store, study_id: str, fence: int, *, reason: str = "cancelled") -> int:
    """Cancel every trial that is not final and the packs they are in; returns the number of trials."""
    with ledger.write_study(study_id, fence) as work:
        return cancel_rest(work, reason)


def cancel_rest(work: StudyWrite, reason: str) -> int:
    """`cancel_remaining` within a transaction."""
    ended = {"state": TrialState.CANCELLED, "reason": reason, "finished_ms": work.now_ms}
    num_trials = work.connection.execute(update(trials).where(_unfinished(work.study_id)).values(ended)).rowcount
    waiting = and_(packs.c.study_id == work.study_id, packs.c.state.in_(sources(PackState.CANCELLED)))
    work.connection.execute(update(packs).where(waiting).values(ended | {"state": PackState.CANCELLED}))
    if num_trials:
        work.event(EventKind.TRIALS_CANCELLED, num_trials=num_trials, reason=reason)
    return num_trials


def set_publishing(
    ledger: Store, study_id: str, publishing: Literal["current", "behind"], *, fence: int | None = None
) -> None:
    """Whether the tracker has everything that the ledger has."""
    with ledger.write_study(study_id, fence) as work:
        if work.study.publishing != publishing:
            work.change(publishing=publishing)
            work.event(EventKind.PUBLISHING, publishing=publishing)


def _unfinished(study_id: str) -> Any:
    states = sources(TrialState.CANCELLED)
    return and_(trials.c.study_id == study_id, trials.c.superseded_in == 0, trials.c.state.in_(states))


def _num_unfinished(work: StudyWrite) -> int:
    query = select(func.count()).select_from(trials).where(_unfinished(work.study_id))
    return int(work.connection.execute(query).scalar_one())


def _read_study(connection: Connection, study_id: str) -> StudyRow:
    return study_row(connection.execute(select(studies).where(studies.c.id == study_id)).one())

"""What readers ask: counts, trials, packs, manifests, events."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, and_, select

from schemas.trials import TrialState
from workers.ledger.mapping import chunks, instant, pack_row, trial_row
from workers.ledger.opening import VERSION_TABLE
from workers.ledger.rows import EventKind, EventRow, PackRow, PackState, TrialRow
from workers.ledger.store import MAX_IN_LIST, Store
from workers.ledger.tables import COUNTED, NEWEST, REVISION, events, packs, studies, trials

PAGE_ROWS = 1_000
MAX_SEQ = 2**63 - 1
"""What a database's integer holds; a client may name any number."""


def counts(ledger: Store, study_id: str) -> dict[str, int]:
    """Trials by state, and done ones by outcome; every state and outcome is a key. Reads one row, however many trials.

    All 0 where there is no such study.
    """
    query = select(*(studies.c[f"num_{name}"] for name in COUNTED)).where(studies.c.id == study_id)
    with ledger.read() as connection:
        row = connection.execute(query).one_or_none()
    return dict(zip(COUNTED, row or [0] * len(COUNTED), strict=True))


def study_trials(
    ledger: Store,
    study_id: str,
    *,
    after: int | None = None,
    limit: int | None = None,
    state: TrialState | None = None,
) -> Iterator[TrialRow]:
    """The newest attempt at each trial, in position order, from behind position `after`.

    Read in pages of 1,000, no transaction held in between: a study may have a million trials.
    """
    query = select(trials).where(_newest(study_id)).order_by(trials.c.num_index)
    if state is not None:
        query = query.where(trials.c.state == state)
    left = limit
    position = -1 if after is None else after
    while left is None or left > 0:
        size = PAGE_ROWS if left is None else min(left, PAGE_ROWS)
        with ledger.read() as connection:
            page = connection.execute(query.where(trials.c.num_index > position).limit(size)).all()
        yield from map(trial_row, page)
        if len(page) < size:
            return
        position = page[-1].num_index
        left = None if left is None else left - size


def trials_by_id(ledger: Store, study_id: str, trial_ids: Collection[str]) -> list[TrialRow]:
    """The newest attempt at each of these trials."""
    found: list[TrialRow] = []
    with ledger.read() as connection:
        for chunk in chunks(trial_ids, MAX_IN_LIST):
            query = select(trials).where(_newest(study_id), trials.c.trial_id.in_(chunk))
            found += [trial_row(row) for row in connection.execute(query)]
    return found


def trial_attempts(ledger: Store, study_id: str, trial_id: str) -> list[TrialRow]:
    """All attempts at one trial, the first one first; the last one counts."""
    where = and_(trials.c.study_id == study_id, trials.c.trial_id == trial_id)
    with ledger.read() as connection:
        rows = connection.execute(select(trials).where(where).order_by(trials.c.attempt)).all()
    return [trial_row(row) for row in rows]


def study_packs(ledger: Store, study_id: str, states: Sequence[PackState] | None = None) -> list[PackRow]:
    """The packs of the study's own plan, by round and id."""
    query = select(packs).where(packs.c.study_id == study_id)
    if states is not None:
        query = query.where(packs.c.state.in_(list(states)))
    with ledger.read() as connection:
        rows = connection.execute(query.order_by(packs.c.round, packs.c.pack_id)).all()
    return [pack_row(row) for row in rows]


def packs_by_id(ledger: Store, pack_ids: Collection[str]) -> list[PackRow]:
    """These packs, of whichever study: a trial may have been taken over with its pack."""
    found: list[PackRow] = []
    with ledger.read() as connection:
        for chunk in chunks(pack_ids, MAX_IN_LIST):
            found += [pack_row(row) for row in connection.execute(select(packs).where(packs.c.pack_id.in_(chunk)))]
    return found


def manifests(ledger: Store, study_id: str) -> dict[str, list[dict[str, Any]]]:
    """Pack id -> manifest of every pack that holds records of the study's trials, those of other studies included."""
    held = select(trials.c.pack_id).where(_newest(study_id), trials.c.pack_id.is_not(None)).distinct()
    query = select(packs.c.pack_id, packs.c.manifest).where(packs.c.pack_id.in_(held)).order_by(packs.c.pack_id)
    with ledger.read() as connection:
        return {row.pack_id: row.manifest for row in connection.execute(query)}


def study_events(ledger: Store, study_id: str, after: int = 0, limit: int = 1_000) -> list[EventRow]:
    """The events that follow number `after`, in order."""
    query = select(events).where(events.c.study_id == study_id, events.c.seq > min(after, MAX_SEQ))
    with ledger.read() as connection:
        rows = connection.execute(query.order_by(events.c.seq).limit(limit)).all()
    return [EventRow(row.seq, instant(row.at_ms), EventKind(row.kind), row.payload) for row in rows]


def why_behind(ledger: Store, study_id: str) -> str:
    """Why the tracker does not have everything, as it was last said; empty where it has, or nothing was said."""
    with ledger.read() as connection:
        return newest_reason(connection, study_id)


def newest_reason(connection: Connection, study_id: str) -> str:
    """`why_behind` within a transaction."""
    of_publishing = and_(events.c.study_id == study_id, events.c.kind == EventKind.PUBLISHING)
    newest = select(events.c.payload).where(of_publishing).order_by(events.c.seq.desc()).limit(1)
    payload = connection.execute(newest).scalar_one_or_none() or {}
    return str(payload.get("reason", ""))


def standings(ledger: Store, study_ids: Collection[str]) -> dict[str, tuple[int, TrialState]]:
    """Study id -> (number of its newest event, state), both of one instant; ids that are no study's are left out."""
    found: dict[str, tuple[int, TrialState]] = {}
    with ledger.read() as connection:
        for chunk in chunks(study_ids, MAX_IN_LIST):
            query = select(studies.c.id, studies.c.last_event_seq, studies.c.state).where(studies.c.id.in_(chunk))
            found |= {row.id: (row.last_event_seq, TrialState(row.state)) for row in connection.execute(query)}
    return found


def last_event_seq(ledger: Store, study_id: str) -> int:
    """The number of the study's newest event, 0 where there is no such study."""
    with ledger.read() as connection:
        query = select(studies.c.last_event_seq).where(studies.c.id == study_id)
        return int(connection.execute(query).scalar_one_or_none() or 0)


def schema_is_current(ledger: Store) -> bool:
    """Whether the tables are still those that this program knows: another one may have migrated them.

    Raises:
        PlaceError: the database cannot be asked.
    """
    with ledger.read() as connection:
        return connection.execute(select(VERSION_TABLE.c.version_num)).scalars().all() == [REVISION]


def _newest(study_id: str) -> Any:
    return and_(trials.c.study_id == study_id, NEWEST)

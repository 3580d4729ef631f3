"""Leases: who launches, drives, publishes a study, by the database's clock; the cancel flag that depends on them."""

from typing import Any, Literal

from sqlalchemy import Connection, and_, select, update

from schemas.trials import TrialState
from workers.ledger.dialect import now_ms, upsert
from workers.ledger.mapping import SqlRow, instant
from workers.ledger.rows import EventKind, LeaseRow
from workers.ledger.store import Store, StudyWrite, clock_ms
from workers.ledger.studies import move_study
from workers.ledger.tables import leases, studies

Kind = Literal["launch", "run", "publish"]
UNDER_WAY: tuple[Kind, ...] = ("launch", "run")
"""Whoever holds one of these works at the study's trials; a `publish` lease only keeps other publishers away."""


def acquire_lease(ledger: Store, study_id: str, kind: Kind, owner: str, ttl_s: float) -> LeaseRow | None:
    """Take the lease for `ttl_s` seconds, or None while another owner's is fresh. `owner` names one process.

    Taking `run` raises the study's attempt by one: that is the lease's fence, and every write under an older one is
    refused from then on.
    """
    with ledger.write_study(study_id) as work:
        return take_lease(work, kind, owner, ttl_s)


def take_lease(work: StudyWrite, kind: Kind, owner: str, ttl_s: float) -> LeaseRow | None:
    """`acquire_lease` within a transaction."""
    held = _lease(work.connection, work.study_id, kind)
    if held is not None and held.owner != owner and held.expires_ms > work.now_ms:
        return None
    if kind == "run":
        fence = work.study.attempt + 1
        work.change(attempt=fence)
    else:
        fence = 1 if held is None else held.fence + 1
    row = {
        "study_id": work.study_id,
        "kind": kind,
        "owner": owner,
        "fence": fence,
        "acquired_ms": work.now_ms,
        "expires_ms": work.now_ms + round(ttl_s * 1000),
    }
    changed = ["owner", "fence", "acquired_ms", "expires_ms"]
    work.connection.execute(upsert(work.connection.dialect, leases, ["study_id", "kind"], changed).values(row))
    return lease_row(_existing(work.connection, work.study_id, kind), work.now_ms)


def renew_lease(ledger: Store, study_id: str, kind: Kind, owner: str, fence: int, ttl_s: float) -> bool:
    """Extend the lease to `ttl_s` seconds from now. False: somebody took it over, and this process must stop.

    An expired lease that nobody took is still its owner's.
    """
    with ledger.write() as connection:
        until = clock_ms(connection) + round(ttl_s * 1000)
        mine = and_(_key(study_id, kind), leases.c.owner == owner, leases.c.fence == fence)
        if kind == "run":
            # A continue raises the fence without taking the lease.
            newest = select(studies.c.attempt).where(studies.c.id == study_id).scalar_subquery()
            mine = and_(mine, newest == fence)
        return connection.execute(update(leases).where(mine).values(expires_ms=until)).rowcount == 1


def release_lease(ledger: Store, study_id: str, kind: Kind, owner: str, fence: int) -> bool:
    """Let the lease expire now. False: it was no longer this owner's."""
    with ledger.write() as connection:
        mine = and_(_key(study_id, kind), leases.c.owner == owner, leases.c.fence == fence)
        expired = update(leases).where(mine).values(expires_ms=clock_ms(connection))
        return connection.execute(expired).rowcount == 1


def lease(ledger: Store, study_id: str, kind: Kind) -> LeaseRow | None:
    """The lease as it stands, fresh or not; None where nobody ever took it."""
    with ledger.read() as connection:
        row = connection.execute(select(leases, now_ms().label("now")).where(_key(study_id, kind))).one_or_none()
        return None if row is None else lease_row(row, row.now)


def request_cancel(ledger: Store, study_id: str) -> None:
    """Ask for the study to be cancelled; asking again, or asking a final study, changes nothing.

    A driver obeys between chunks. A queued study that nobody drives becomes cancelled at once, with its trials.
    """
    with ledger.write_study(study_id) as work:
        if TrialState(work.study.state).is_final:
            return
        if not work.study.cancel_requested:
            work.change(cancel_requested=True)
            work.event(EventKind.CANCEL_REQUESTED)
        if work.study.state == TrialState.QUEUED and not is_driven(work):
            move_study(work, TrialState.CANCELLED, "cancelled before it ran")


def cancel_requested(ledger: Store, study_id: str) -> bool:
    """Whether the study is to be cancelled."""
    with ledger.read() as connection:
        flag = select(studies.c.cancel_requested).where(studies.c.id == study_id)
        return bool(connection.execute(flag).scalar_one_or_none())


def is_driven(work: StudyWrite) -> bool:
    """Whether a driver holds the study."""
    held = _lease(work.connection, work.study_id, "run")
    # A continue raises the fence: who held the study before it only closes down.
    return held is not None and held.expires_ms > work.now_ms and held.fence == work.study.attempt


def _key(study_id: str, kind: str) -> Any:
    return and_(leases.c.study_id == study_id, leases.c.kind == kind)


def _lease(connection: Connection, study_id: str, kind: str) -> SqlRow | None:
    return connection.execute(select(leases).where(_key(study_id, kind))).one_or_none()


def _existing(connection: Connection, study_id: str, kind: str) -> SqlRow:
    return connection.execute(select(leases).where(_key(study_id, kind))).one()


def lease_row(row: SqlRow, now: int) -> LeaseRow:
    """A row of the table as the ledger hands it out; `now` in milliseconds by the database's clock."""
    return LeaseRow(
        study_id=row.study_id,
        kind=row.kind,
        owner=row.owner,
        fence=row.fence,
        acquired_at=instant(row.acquired_ms),
        expires_at=instant(row.expires_ms),
        is_fresh=row.expires_ms > now,
    )

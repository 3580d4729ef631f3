"""The queue: which studies a controller may launch next, and how many are under way. By the database's clock."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Select, and_, exists, false, func, select, true, update

from schemas.trials import TrialState
from workers.ledger.dialect import hold
from workers.ledger.leases import UNDER_WAY, lease_row, take_lease
from workers.ledger.rows import LeaseRow
from workers.ledger.store import Store, StudyWrite, clock_ms
from workers.ledger.tables import leases, studies

FINAL = tuple(state for state in TrialState if state.is_final)


def claimable(ledger: Store, limit: int) -> list[str]:
    """Ids of queued studies that nobody launches or drives, and nobody wants cancelled: by priority, then age."""
    with ledger.read() as connection:
        return list(connection.execute(_next(clock_ms(connection)).limit(limit)).scalars())


def num_running(ledger: Store) -> int:
    """Studies that somebody launches or drives now; final ones, which are only published still, do not count."""
    with ledger.read() as connection:
        return _num_running(connection, clock_ms(connection))


def claim(
    ledger: Store, owner: str, ttl_s: float, max_running: int, *, passed_over: Collection[str] = ()
) -> LeaseRow | None:
    """Take the launch lease of the study that is next, but for those `passed_over`; None where none is, or where
    `max_running` are under way already.

    However many controllers claim at once: no study is claimed by two, and the limit holds for all of them together.
    """
    with ledger.write() as connection:
        hold(connection, "claim")
        now = clock_ms(connection)
        if _num_running(connection, now) >= max_running:
            return None
        query = _next(now).where(studies.c.id.not_in(list(passed_over))).limit(1)
        study_id = connection.execute(query).scalar_one_or_none()
        if study_id is None:
            return None
        work = StudyWrite(connection, study_id, None)
        # Asked again now that its row is held: meanwhile it may have been cancelled, or launched by a command.
        still = _next(work.now_ms).where(studies.c.id == study_id)
        if connection.execute(still).scalar_one_or_none() is None:
            return None
        return take_lease(work, "launch", owner, ttl_s)


def held_leases(ledger: Store) -> list[LeaseRow]:
    """Every lease that is fresh, of all studies."""
    with ledger.read() as connection:
        now = clock_ms(connection)
        query = select(leases).where(leases.c.expires_ms > now).order_by(leases.c.study_id, leases.c.kind)
        return [lease_row(row, now) for row in connection.execute(query)]


def abandoned(ledger: Store) -> list[str]:
    """Ids of studies that are running, or to be cancelled, and that nobody launches or drives."""
    with ledger.read() as connection:
        unwanted = and_(studies.c.state == TrialState.QUEUED, studies.c.cancel_requested == true())
        lost = (studies.c.state == TrialState.RUNNING) | unwanted
        query = select(studies.c.id).where(lost, ~_held(clock_ms(connection))).order_by(studies.c.created_ms)
        return list(connection.execute(query).scalars())


def explain_waiting(ledger: Store, reason: str, *, where: str | None = None, study_id: str | None = None) -> int:
    """Give every study that waits for its turn this reason, or that one alone, or those whose reason begins with
    `where`.

    It is no event: a study that has begun forgets it. Returns how many have changed.
    """
    with ledger.write() as connection:
        now = clock_ms(connection)
        waiting = and_(studies.c.id.in_(_next(now).order_by(None)), studies.c.reason != reason)
        if where is not None:
            waiting = and_(waiting, studies.c.reason.startswith(where, autoescape=True))
        if study_id is not None:
            waiting = and_(waiting, studies.c.id == study_id)
        values = {"reason": reason, "version": studies.c.version + 1, "updated_ms": now}
        return connection.execute(update(studies).where(waiting).values(values)).rowcount


def behind(ledger: Store, limit: int, *, passed_over: Collection[str] = ()) -> list[str]:
    """Ids of final studies that the tracker does not have whole and nobody drives or publishes: oldest first."""
    with ledger.read() as connection:
        lacking = and_(studies.c.publishing != "current", studies.c.state.in_(FINAL))
        anybody = exists().where(leases.c.study_id == studies.c.id, leases.c.expires_ms > clock_ms(connection))
        query = select(studies.c.id).where(lacking, ~anybody, studies.c.id.not_in(list(passed_over)))
        return list(connection.execute(query.order_by(studies.c.created_ms, studies.c.id).limit(limit)).scalars())


def _next(now: int) -> Select[Any]:
    waiting = and_(studies.c.state == TrialState.QUEUED, studies.c.cancel_requested == false())
    order = (studies.c.priority.desc(), studies.c.created_ms, studies.c.id)
    return select(studies.c.id).where(waiting, ~_held(now)).order_by(*order)


def _held(now: int) -> Any:
    return exists().where(leases.c.study_id == studies.c.id, leases.c.kind.in_(UNDER_WAY), leases.c.expires_ms > now)


def _num_running(connection: Connection, now: int) -> int:
    under_way = (
        select(func.count(leases.c.study_id.distinct()))
        .join(studies, studies.c.id == leases.c.study_id)
        .where(leases.c.kind.in_(UNDER_WAY), leases.c.expires_ms > now, studies.c.state.not_in(FINAL))
    )
    return int(connection.execute(under_way).scalar_one())

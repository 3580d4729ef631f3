"""Lists of studies: filtered, newest first, in pages that cost the same however deep."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select, tuple_

from schemas.trials import TrialState
from workers.ledger.dialect import begins_with
from workers.ledger.mapping import HEAD, study_head
from workers.ledger.rows import StudyHead
from workers.ledger.store import Store
from workers.ledger.tables import studies

MAX_LIST = 1_000
"""Studies, trials or keys in one page of a list."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def list_studies(
    ledger: Store,
    limit: int = 50,
    cursor: str | None = None,
    *,
    owner: str | None = None,
    state: TrialState | None = None,
    name: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
) -> tuple[list[StudyHead], str | None]:
    """One page, newest first, and the cursor of the next page (None: this was the last).

    `name` is a whole name, or the beginning of one and `*`. Both times are excluded themselves, to the millisecond.

    Raises:
        ValueError: a limit outside 1 to 1,000, a cursor that no list gave, or a time without a zone.
    """
    check_limit(limit)
    query = select(*HEAD).order_by(studies.c.created_ms.desc(), studies.c.id.desc()).limit(limit + 1)
    if owner is not None:
        query = query.where(studies.c.owner == owner)
    if state is not None:
        query = query.where(studies.c.state == state)
    if name is not None:
        query = query.where(_named(ledger, name))
    if created_after is not None:
        query = query.where(studies.c.created_ms > _milliseconds(created_after))
    if created_before is not None:
        # A fraction of a millisecond after a study's time is after it.
        query = query.where(studies.c.created_ms < -(-_microseconds(created_before) // 1000))
    if cursor is not None:
        query = query.where(before_cursor(studies, cursor, "[0-9a-f]{16}"))
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    page = [study_head(row) for row in rows[:limit]]
    return page, (time_cursor(rows[limit - 1]) if len(rows) > limit else None)


def studies_by_state(ledger: Store) -> dict[str, int]:
    """How many studies are in each state; every state is a key."""
    numbers = dict.fromkeys(map(str, TrialState), 0)
    with ledger.read() as connection:
        for state, number in connection.execute(select(studies.c.state, func.count()).group_by(studies.c.state)):
            numbers[state] = number
    return numbers


def check_limit(limit: int) -> None:
    """Raise ValueError unless a page may have that many rows."""
    if not 1 <= limit <= MAX_LIST:
        raise ValueError(f"limit: got {limit}, allowed 1 to {MAX_LIST}")


def before_cursor(table: Any, cursor: str, id_pattern: str) -> Any:
    """The condition for rows that follow `cursor`, where newer come first and ids decide between equal times."""
    match = re.fullmatch(rf"(\d{{1,18}})-({id_pattern})", cursor, re.ASCII)
    if match is None:
        raise bad_cursor(cursor)
    return tuple_(table.c.created_ms, table.c.id) < tuple_(int(match[1]), match[2])


def time_cursor(last: Any) -> str:
    """What `before_cursor` reads: the last row of a page."""
    return f"{last.created_ms}-{last.id}"


def bad_cursor(cursor: str) -> ValueError:
    """Said of a cursor that no list gave."""
    return ValueError(f"cursor: got {cursor[:100]!r}, allowed what an earlier page gave")


def _named(ledger: Store, name: str) -> Any:
    if name.endswith("*"):
        return begins_with(ledger.engine.dialect, studies.c.name, name[:-1])
    return studies.c.name == name


def _milliseconds(time: datetime) -> int:
    return _microseconds(time) // 1000


def _microseconds(time: datetime) -> int:
    if time.tzinfo is None:
        raise ValueError(f"time: got {time.isoformat()}, allowed one with a zone")
    return (time - _EPOCH) // timedelta(microseconds=1)

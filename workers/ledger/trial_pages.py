"""Trials as a service shows them: pages with filters, and one trial by its id, of what an owner may see."""

import re
from typing import Any

from sqlalchemy import and_, exists, select

from schemas.errors import StudyNotFound
from schemas.problems import show
from schemas.trials import Outcome, TrialState
from workers.ledger.listing import bad_cursor, check_limit
from workers.ledger.mapping import trial_row
from workers.ledger.rows import TrialRow
from workers.ledger.store import Store
from workers.ledger.tables import NEWEST, studies, trials


def trials_page(
    ledger: Store,
    study_id: str,
    limit: int = 50,
    cursor: str | None = None,
    *,
    owner: str | None = None,
    state: TrialState | None = None,
    outcome: Outcome | None = None,
    workload: str | None = None,
    optimizer: str | None = None,
    schedule: str | None = None,
) -> tuple[list[TrialRow], str | None]:
    """One page of the newest attempts at a study's trials, by position, and the cursor of the next (None: no more).

    A walk along an index that ends with the position, so a page costs the same however deep it is.

    Raises:
        StudyNotFound: no such study, or, where `owner` is given, not theirs.
        ValueError: a limit outside 1 to 1,000, or a cursor that no page gave.
    """
    check_limit(limit)
    if re.fullmatch(r"[0-9a-f]{16}", study_id) is None:
        raise StudyNotFound(f"no study {show(study_id)}: an id is 16 hexadecimal digits")
    query = select(trials).where(trials.c.study_id == study_id, NEWEST).order_by(trials.c.num_index).limit(limit + 1)
    filters = {"state": state, "outcome": outcome, "workload": workload, "optimizer": optimizer, "schedule": schedule}
    for name, value in filters.items():
        if value is not None:
            query = query.where(trials.c[name] == value)
    if cursor is not None:
        query = query.where(trials.c.num_index > _position(cursor))
    is_there = exists().where(studies.c.id == study_id, _is_visible(owner))
    if owner is not None:
        query = query.where(is_there)
    with ledger.read() as connection:
        rows = connection.execute(query).all()
        # Asked once more only where there is nothing: the usual page costs one question.
        if not rows and not connection.execute(select(is_there)).scalar_one():
            raise StudyNotFound(f"no study {study_id} in this ledger")
    return [trial_row(row) for row in rows[:limit]], (str(rows[limit - 1].num_index) if len(rows) > limit else None)


def trial_holders(ledger: Store, trial_id: str, owner: str | None = None) -> TrialRow | None:
    """The newest row of a trial in any study (of `owner`, where given); None where none holds it."""
    if re.fullmatch(r"[0-9a-f]{64}", trial_id) is None:
        return None
    query = (
        select(trials)
        .join(studies, studies.c.id == trials.c.study_id)
        .where(trials.c.trial_id == trial_id, NEWEST, _is_visible(owner))
        .order_by(trials.c.row.desc())
        .limit(1)
    )
    with ledger.read() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else trial_row(row)


def _is_visible(owner: str | None) -> Any:
    return and_(True) if owner is None else studies.c.owner == owner


def _position(cursor: str) -> int:
    if re.fullmatch(r"\d{1,10}", cursor, re.ASCII) is None:
        raise bad_cursor(cursor)
    return int(cursor)

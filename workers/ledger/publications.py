"""How far each trial has been published to the tracker, so that a replay adds nothing."""

from collections.abc import Iterator, Sequence

from sqlalchemy import and_, delete, false, func, or_, select, true

from schemas.trials import TrialState
from workers.ledger.dialect import upsert
from workers.ledger.rows import PublicationRow, UnpublishedRow
from workers.ledger.store import Store
from workers.ledger.tables import packs, publications, trials

PAGE_ROWS = 500


def publication(ledger: Store, study_id: str, key: str) -> PublicationRow | None:
    """What was published under `key`: a trial id, or the cell or study whose run is shared."""
    query = select(publications).where(publications.c.study_id == study_id, publications.c.key == key)
    with ledger.read() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else PublicationRow(row.key, row.run_id, row.offset, row.is_final)


def record_publication(
    ledger: Store, study_id: str, key: str, run_id: str, offset: int, fence: int, *, is_final: bool = False
) -> None:
    """Acknowledge that `offset` durable steps (and, `is_final`, the closing values) are in run `run_id`."""
    record_publications(ledger, study_id, [PublicationRow(key, run_id, offset, is_final)], fence)


def record_publications(ledger: Store, study_id: str, published: Sequence[PublicationRow], fence: int) -> None:
    """`record_publication` for several keys in one transaction."""
    with ledger.write_study(study_id, fence) as work:
        rows = [
            {"study_id": study_id, "key": row.key, "run_id": row.run_id, "offset": row.offset, "is_final": row.is_final}
            for row in published
        ]
        changed = ["run_id", "offset", "is_final"]
        if rows:
            work.connection.execute(upsert(work.connection.dialect, publications, ["study_id", "key"], changed), rows)


def unpublished(ledger: Store, study_id: str) -> Iterator[UnpublishedRow]:
    """Trials with durable steps beyond the acknowledged offset, or that ended and nobody acknowledged their end.

    In position order, in pages; a trial that was cancelled before its first durable step is not among them.
    """
    offset = func.coalesce(publications.c.offset, 0)
    is_final = trials.c.state.in_([state for state in TrialState if state.is_final])
    ended = and_(
        is_final,
        func.coalesce(publications.c.is_final, false()) == false(),
        or_(trials.c.state != TrialState.CANCELLED, packs.c.step > 0),
    )
    query = (
        select(trials, packs.c.step, publications.c.run_id, offset.label("published"))
        .join(packs, packs.c.pack_id == trials.c.pack_id)
        .outerjoin(
            publications,
            and_(publications.c.study_id == trials.c.study_id, publications.c.key == trials.c.trial_id),
        )
        .where(trials.c.study_id == study_id, trials.c.superseded_in == 0)
        .where(or_(packs.c.step > offset, ended))
        .order_by(trials.c.num_index)
        .limit(PAGE_ROWS)
    )
    position = -1
    while True:
        with ledger.read() as connection:
            page = connection.execute(query.where(trials.c.num_index > position)).all()
        for row in page:
            final = TrialState(row.state).is_final
            yield UnpublishedRow(row.trial_id, row.pack_id, row.slot, row.step, final, row.run_id, row.published)
        if len(page) < PAGE_ROWS:
            return
        position = page[-1].num_index


def final_publications(ledger: Store, study_id: str) -> list[PublicationRow]:
    """What the tracker holds completely."""
    query = select(publications).where(publications.c.study_id == study_id, publications.c.is_final == true())
    with ledger.read() as connection:
        return [PublicationRow(row.key, row.run_id, row.offset, row.is_final) for row in connection.execute(query)]


def forget_publications(ledger: Store, study_id: str, fence: int) -> None:
    """Void every acknowledgement: the tracker that gave them is not the one that is published to now."""
    with ledger.write_study(study_id, fence) as work:
        work.connection.execute(delete(publications).where(publications.c.study_id == study_id))

"""The data sets that workers have published, and how long past packs took."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from workers.ledger import tables
from workers.ledger.dialect import upsert
from workers.ledger.mapping import SqlRow, instant
from workers.ledger.rows import CatalogRow, TimingRow
from workers.ledger.store import Store, clock_ms
from workers.ledger.tables import pack_timings

MAX_TIMINGS = 1_000


def publish_dataset(ledger: Store, kind: str, sha256: str, facts: Mapping[str, Any]) -> None:
    """Vouch for a data set; publishing a kind again replaces what was said of it."""
    with ledger.write() as connection:
        row = {"kind": kind, "sha256": sha256, "facts": dict(facts), "published_ms": clock_ms(connection)}
        changed = ["sha256", "facts", "published_ms"]
        connection.execute(upsert(connection.dialect, tables.catalog, ["kind"], changed).values(row))


def dataset(ledger: Store, kind: str) -> CatalogRow | None:
    """What is known of a data set; None where no worker has published it."""
    with ledger.read() as connection:
        row = connection.execute(select(tables.catalog).where(tables.catalog.c.kind == kind)).one_or_none()
    return None if row is None else _catalog_row(row)


def datasets(ledger: Store) -> list[CatalogRow]:
    """Every published data set, by kind."""
    with ledger.read() as connection:
        return [_catalog_row(row) for row in connection.execute(select(tables.catalog).order_by(tables.catalog.c.kind))]


def timings(ledger: Store, device_class: str, group_key: str) -> list[TimingRow]:
    """The newest 1,000 timings of packs of this group on this device class, newest first."""
    query = (
        select(pack_timings)
        .where(pack_timings.c.device_class == device_class, pack_timings.c.group_key == group_key)
        .order_by(pack_timings.c.row.desc())
        .limit(MAX_TIMINGS)
    )
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    return [TimingRow(row.size, row.steps, row.seconds, instant(row.recorded_ms)) for row in rows]


def _catalog_row(row: SqlRow) -> CatalogRow:
    return CatalogRow(row.kind, row.sha256, row.facts, instant(row.published_ms))

"""Opening a ledger: make a fresh one, accept a current one, copy and migrate an old one, refuse a newer one."""

import sqlite3
from pathlib import Path

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, insert, inspect, select

from schemas.errors import PlaceError
from workers.ledger import tables
from workers.ledger.dialect import WRITES, connect, hold_schema
from workers.ledger.place import Place
from workers.ledger.store import naming_the_place

VERSION_TABLE = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
"""Alembic's own table, so that a current ledger is recognised without importing Alembic."""
MIGRATIONS = Path(__file__).parent / "migrations"


def open_engine(place: Place, *, create: bool) -> Engine:
    """An engine on a database whose schema is the one that this code knows.

    Raises:
        PlaceError: nothing there and `create` is False; a newer or a foreign database; a place that cannot be used.
    """
    if place.file is not None:
        _make_folder(place.file, create=create)
    engine = _connect(place)
    try:
        with naming_the_place(place):
            if _revision(engine) != tables.REVISION:
                _bring_up_to_date(engine, place, create=create)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _make_folder(file: Path, *, create: bool) -> None:
    if not create and not file.exists():
        raise PlaceError(
            f"ledger {file}: there is none here; run a study first, or name its home (--home, WARMUP_BENCH_HOME)"
        )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlaceError(
            f"ledger {file}: its folder cannot be made ({error.strerror}); name another (--home, WARMUP_BENCH_HOME)"
        ) from error


def _connect(place: Place) -> Engine:
    try:
        return connect(place.url)
    except ModuleNotFoundError as error:
        raise PlaceError(f"ledger {place}: {error.name} is not installed; pip install 'psycopg[binary]'") from error


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return _stamp(connection)


def _stamp(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE.name):
        return None
    return " and ".join(connection.execute(select(VERSION_TABLE.c.version_num)).scalars()) or None


def _bring_up_to_date(engine: Engine, place: Place, *, create: bool) -> None:
    # SQLite changes a table by copying, dropping and renaming it, which foreign keys to it would forbid.
    builder = connect(place.url, enforce_foreign_keys=False)
    try:
        with builder.execution_options(**{WRITES: True}).begin() as connection:
            hold_schema(connection)
            revision = _stamp(connection)  # again, now that no other process can be doing the same
            if revision is None:
                _make_tables(connection, place, create=create)
            elif revision != tables.REVISION:
                _migrate(connection, place, revision)
    finally:
        builder.dispose()


def _make_tables(connection: Connection, place: Place, *, create: bool) -> None:
    if inspect(connection).get_table_names():
        raise PlaceError(
            f"ledger {place}: a database of another program, or a ledger that has lost its schema's number; move it"
            " away or name another home (--home, WARMUP_BENCH_HOME)"
        )
    if not create:
        raise PlaceError(f"ledger {place}: it is empty; run a study first, or name another home")
    tables.metadata.create_all(connection, checkfirst=False)
    VERSION_TABLE.metadata.create_all(connection, checkfirst=False)
    connection.execute(insert(VERSION_TABLE).values(version_num=tables.REVISION))


def _migrate(connection: Connection, place: Place, revision: str) -> None:
    # Slow to import, and needed only here.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        ScriptDirectory.from_config(config).get_revision(revision)
    except CommandError as error:
        raise PlaceError(
            f"ledger {place}: its schema {revision} is newer than any that this program knows, up to"
            f" {tables.REVISION}; install a newer warmup-bench, or name another home (--home, WARMUP_BENCH_HOME)"
        ) from error
    if place.file is not None:
        _copy(place.file, place.file.with_name(f"{place.file.name}.bak-{revision}"))
    command.upgrade(config, tables.REVISION)


def _copy(file: Path, copy: Path) -> None:
    # SQLite's own copy, since part of what is committed is in the write-ahead log. The name is taken last, so that a
    # copy of that name is whole.
    partial = copy.with_name(copy.name + ".partial")
    partial.unlink(missing_ok=True)
    source, target = sqlite3.connect(file), sqlite3.connect(partial)
    try:
        source.backup(target)
    finally:
        target.close()
        source.close()
    partial.replace(copy)

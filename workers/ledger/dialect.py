"""What differs between SQLite and Postgres: connecting, locking, the clock, upserts, the meaning of driver errors."""

import sqlite3
import time
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Connection,
    Dialect,
    Engine,
    Insert,
    Table,
    create_engine,
    event,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

BUSY_TIMEOUT_S = 30.0
WRITES = "ledger_writes"
"""Execution option of engines whose transactions may write."""


class now_ms(FunctionElement[int]):  # noqa: N801 - reads as the SQL function that it is
    """The database's clock, in integer milliseconds since 1970 UTC."""

    type = BigInteger()
    inherit_cache = True


@compiles(now_ms, "sqlite")
def _sqlite_now(element: now_ms, compiler: Any, **options: Any) -> str:
    # unixepoch('subsec') needs SQLite 3.42; Python 3.11 builds come with older ones.
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"


@compiles(now_ms, "postgresql")
def _postgres_now(element: now_ms, compiler: Any, **options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"


def connect(url: URL, *, enforce_foreign_keys: bool = True) -> Engine:
    """An engine for `url`; nothing is opened yet."""
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: object) -> None:
        # The driver must not begin transactions by itself: it would begin them deferred.
        connection.isolation_level = None
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA foreign_keys = {'ON' if enforce_foreign_keys else 'OFF'}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that reads and then writes fails at once where another has written in between,
        # busy timeout or not; an immediate one waits for its turn.
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    # Changing the mode does not honour the busy timeout, so two processes that open a fresh file may collide.
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def hold_schema(connection: Connection) -> None:
    """Wait until no other process is making or migrating the tables; held until the transaction ends."""
    if connection.dialect.name == "postgresql":  # SQLite's transaction holds the whole file already
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7239146085)")


def upsert(dialect: Dialect, table: Table, keys: list[str], changed: list[str]) -> Insert:
    """INSERT that overwrites the columns `changed` where a row with the same `keys` exists."""
    insert = (sqlite if dialect.name == "sqlite" else postgresql).insert(table)
    new = {name: insert.excluded[name] for name in changed}
    statement: Insert = insert.on_conflict_do_update(index_elements=keys, set_=new)
    return statement


_SQLITE_MEANINGS = {
    "SQLITE_FULL": "the disk is full; what was committed before is kept. Free some space and run it again",
    "SQLITE_IOERR": "the disk refused to read or write; check the disk and its free space",
    "SQLITE_READONLY": "it cannot be written; make it writable or name another home (--home, WARMUP_BENCH_HOME)",
    "SQLITE_CANTOPEN": "it cannot be opened; check the folder's rights or name another (--home, WARMUP_BENCH_HOME)",
    "SQLITE_PERM": "access was denied; check the folder's rights or name another (--home, WARMUP_BENCH_HOME)",
    "SQLITE_BUSY": f"another process has held it for {BUSY_TIMEOUT_S:.0f} s; end that process and run it again",
    "SQLITE_NOTADB": "it is no SQLite file; move it away or name another home (--home, WARMUP_BENCH_HOME)",
    "SQLITE_CORRUPT": "the file is damaged; put back a copy of it, or move it away to start anew",
}


def meaning(error: DatabaseError) -> str | None:
    """What a driver's error says about the place, and what to do; None where it says nothing about the place."""
    name = getattr(error.orig, "sqlite_errorname", None)
    if name is not None:
        return next((text for start, text in _SQLITE_MEANINGS.items() if name.startswith(start)), None)
    if isinstance(error, OperationalError):
        return f"the database server cannot be used ({error.orig}); check that it runs and the URL names it"
    return None

"""What differs between SQLite and Postgres: connecting, locking, the clock, upserts, the meaning of driver errors."""

import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    ColumnElement,
    Connection,
    Dialect,
    Engine,
    Insert,
    Table,
    and_,
    create_engine,
    event,
    insert,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError, DBAPIError, InvalidatePoolError, OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

BUSY_TIMEOUT_S = 30.0
MAX_CONNECTIONS = {"sqlite": 40, "postgresql": 16}
"""Of one process, opened as they are needed; more threads than that wait. A Postgres server takes 100 by default:
three APIs, two controllers and some drivers. SQLite: one for each thread of an API."""
_POSTGRES_ARGS: dict[str, str | int] = {
    "application_name": "warmup-bench",
    "connect_timeout": 10,
    # A server that is gone without a word is noticed after a minute, not after the two hours of TCP.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
PING_AFTER_S = 1.0
"""To ask a server before each question whether it is there costs as much as the question."""
_USED_AT = "used_at"
WRITES = "ledger_writes"
"""Execution option of engines whose transactions may write: WAIT, or IF_FREE to fail at once where SQLite's one writer
is another."""
WAIT, IF_FREE = "wait", "if free"
ONE_BY_ONE = {"postgresql": {"isolation_level": "AUTOCOMMIT"}, "sqlite": {}}
"""Execution options of engines that only read. Each statement of a Postgres transaction sees what is committed by then:
to begin and end one around them would be two round trips for nothing."""


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
    pool = {"pool_size": MAX_CONNECTIONS[url.get_backend_name()], "max_overflow": 0, "pool_timeout": BUSY_TIMEOUT_S}
    if url.get_backend_name() != "sqlite":
        unsaid = {name: value for name, value in _POSTGRES_ARGS.items() if name not in url.query}
        server = create_engine(url, pool_use_lifo=True, connect_args=unsaid, **pool)
        _ping_after_silence(server)
        return server
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, **pool)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: object) -> None:
        # The driver must not begin transactions by itself: it would begin them deferred.
        connection.isolation_level = None
        _use_wal(connection)
        # With NORMAL a power cut could take back what was answered: in WAL mode it writes to the disk at checkpoints.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA foreign_keys = {'ON' if enforce_foreign_keys else 'OFF'}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that reads and then writes fails at once where another has written in between,
        # busy timeout or not; an immediate one waits for its turn.
        writes = connection.get_execution_options().get(WRITES)
        with _busy_timeout(connection, 0.0 if writes == IF_FREE else BUSY_TIMEOUT_S):
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _ping_after_silence(engine: Engine) -> None:
    """Before a connection is used that was not for a while, see whether its server is still there."""

    @event.listens_for(engine, "checkin")
    def note(connection: Any, record: Any) -> None:
        record.info[_USED_AT] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(connection: Any, record: Any, proxy: Any) -> None:
        if time.monotonic() - record.info.get(_USED_AT, 0.0) < PING_AFTER_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error  # all of the pool's: they are of the same server


@contextmanager
def _busy_timeout(connection: Connection, seconds: float) -> Iterator[None]:
    if seconds == BUSY_TIMEOUT_S:  # as it was connected
        yield
        return
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(seconds * 1000)}")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT_S * 1000)}")


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


def hold(connection: Connection, name: str) -> None:
    """Wait until no other transaction holds `name`; held until this one ends."""
    if connection.dialect.name == "postgresql":  # SQLite's writers take turns already
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})


def begins_with(dialect: Dialect, column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    """The condition for texts that begin with `prefix`, letter by letter, as a range of an index."""
    end = prefix + "\U0010ffff"  # no character, and above all of them
    if dialect.name == "postgresql":
        # Not >= and <: those follow the order of the database's language.
        return and_(column.op("~>=~", is_comparison=True)(prefix), column.op("~<~", is_comparison=True)(end))
    return and_(column >= prefix, column < end)


def insert_many(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all give the same columns."""
    if connection.dialect.name == "sqlite":
        connection.execute(insert(table), rows)
        return
    # INSERT takes Postgres and its driver twice as long, with a statement per row or with a list per column.
    columns = [table.c[name] for name in rows[0]]
    processors = [column.type.dialect_impl(connection.dialect).bind_processor(connection.dialect) for column in columns]
    names = ", ".join(f'"{column.name}"' for column in columns)
    statement = f"COPY {table.name} ({names}) FROM STDIN"
    driver_error = connection.dialect.loaded_dbapi.Error
    try:
        with connection.connection.cursor() as cursor, cursor.copy(statement) as copy:  # type: ignore[attr-defined]
            for row in rows:
                copy.write_row([of(value) if of else value for value, of in zip(row.values(), processors, strict=True)])
    except driver_error as error:
        raise DBAPIError.instance(statement, None, error, driver_error, dialect=connection.dialect) from error


def upsert(dialect: Dialect, table: Table, keys: list[str], changed: list[str]) -> Insert:
    """INSERT that overwrites the columns `changed` where a row with the same `keys` exists."""
    into = (sqlite if dialect.name == "sqlite" else postgresql).insert(table)
    new = {name: into.excluded[name] for name in changed}
    statement: Insert = into.on_conflict_do_update(index_elements=keys, set_=new)
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


_OTHER_TABLES = re.compile(r"no such (table|column)|has no column named")
_UNDEFINED = ("42703", "42P01")
"""Postgres: undefined column, undefined table."""


def meaning(error: DatabaseError) -> str | None:
    """What a driver's error says about the place, and what to do; None where it says nothing about the place."""
    name = getattr(error.orig, "sqlite_errorname", None)
    if _OTHER_TABLES.search(str(error.orig)) or getattr(error.orig, "sqlstate", None) in _UNDEFINED:
        said = str(error.orig).splitlines()[0]
        return (
            f"its tables are not those of its schema's number ({said}): an unreleased version made it, or it is"
            " damaged; move it away or name another home (--home, WARMUP_BENCH_HOME)"
        )
    if name is not None:
        return next((text for start, text in _SQLITE_MEANINGS.items() if name.startswith(start)), None)
    if isinstance(error, OperationalError):
        return f"the database server cannot be used ({error.orig}); check that it runs and the URL names it"
    return None


_PASSING = ("08", "40", "53", "55", "57")
"""Postgres' classes of errors that go away by themselves: connections, turns, resources, locks, who operates it."""
_SERVER_DISK_FULL = "53100"


def is_passing(error: DatabaseError) -> bool:
    """Whether the same question may be answered later: the server restarts, or another process has its turn."""
    name = getattr(error.orig, "sqlite_errorname", None)
    if name is not None:
        return bool(name.startswith("SQLITE_BUSY"))
    state = getattr(error.orig, "sqlstate", None)  # none where no connection came about, or one was lost
    passes = state is None or (state.startswith(_PASSING) and state != _SERVER_DISK_FULL)
    return isinstance(error, OperationalError) and passes

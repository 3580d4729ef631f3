"""Transactions: read, write, and write to one study under its fence with events that leave no gap."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import DatabaseError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from schemas.errors import PlaceAway, PlaceError, StaleFence, StudyNotFound, WrongState
from schemas.trials import TrialState
from workers.ledger.counting import Counts
from workers.ledger.dialect import BUSY_TIMEOUT_S, IF_FREE, ONE_BY_ONE, WAIT, WRITES, is_passing, meaning, now_ms
from workers.ledger.mapping import SqlRow
from workers.ledger.place import Place
from workers.ledger.rows import EventKind, PackState
from workers.ledger.tables import events, studies

CHUNK_ROWS = 5_000
"""Rows per bulk statement."""
MAX_IN_LIST = 500
"""Values in one IN (...): well under every backend's limit on parameters."""


class Store:
    """An open database whose tables are known to be current."""

    def __init__(self, engine: Engine, place: Place) -> None:
        self.place = place
        self.engine = engine
        self._reader = engine.execution_options(**ONE_BY_ONE[engine.dialect.name])
        self._writer = engine.execution_options(**{WRITES: WAIT})
        self._writer_if_free = engine.execution_options(**{WRITES: IF_FREE})

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database throughout (Postgres: one per statement)."""
        with naming_the_place(self.place), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self, *, wait: bool = True) -> Iterator[Connection]:
        """A transaction that may write: all of it or nothing. On SQLite one at a time, from its first statement on.

        Raises:
            PlaceError: the database cannot be written; without `wait`, also where SQLite has another writer now.
        """
        writer = self._writer if wait else self._writer_if_free
        with naming_the_place(self.place), writer.begin() as connection:
            yield connection

    @contextmanager
    def write_study(self, study_id: str, fence: int | None = None) -> Iterator["StudyWrite"]:
        """A write transaction that holds the study's row.

        Raises:
            StudyNotFound: no such study.
            StaleFence: `fence` is given and is not the study's newest attempt.
        """
        with self.write() as connection:
            work = StudyWrite(connection, study_id, fence)
            yield work
            work.flush()


class StudyWrite:
    """One write to one study. Holding its row makes event numbers gapless and ordered by commit."""

    def __init__(self, connection: Connection, study_id: str, fence: int | None) -> None:
        self.connection = connection
        self.study_id = study_id
        self.study = _locked_study(connection, study_id)
        if fence is not None and fence != self.study.attempt:
            raise StaleFence(f"study {study_id}: attempt {fence} was replaced by attempt {self.study.attempt}")
        # Read after the row is held: a clock read before waiting for it could run backwards between events.
        self.now_ms: int = clock_ms(connection)
        self.counts = Counts()
        self._seq: int = self.study.last_event_seq
        self._events: list[dict[str, Any]] = []
        self._changes: dict[str, Any] = {}

    @property
    def num_unfinished(self) -> int:
        """Trials that are not final."""
        unfinished = self.counts.added(TrialState.QUEUED, TrialState.RUNNING)
        return int(self.study.num_queued + self.study.num_running + unfinished)

    def event(self, kind: EventKind, **payload: Any) -> None:
        """Note an event; it is inserted when the transaction ends well."""
        self._seq += 1
        self._events.append(
            {"study_id": self.study_id, "seq": self._seq, "at_ms": self.now_ms, "kind": kind, "payload": payload}
        )

    def change(self, **values: Any) -> None:
        """Note new values for columns of the study's row; they are written when the transaction ends well."""
        self._changes |= values

    def flush(self) -> None:
        """Write what was noted: the events, and the study's row with its counts and its version."""
        if self._events:
            self.connection.execute(insert(events), self._events)
            self.change(last_event_seq=self._seq)
        values = self._changes | self.counts.values()
        if values:
            values |= {"version": studies.c.version + 1, "updated_ms": self.now_ms}
            self.connection.execute(update(studies).where(studies.c.id == self.study_id).values(values))
        self.counts = Counts()
        self._events, self._changes = [], {}


def clock_ms(connection: Connection) -> int:
    """The database's clock, in milliseconds since 1970 UTC."""
    return int(connection.execute(select(now_ms())).scalar_one())


def move(current: TrialState, new: TrialState, what: str) -> None:
    """Raise WrongState unless `current` may become `new`."""
    if not current.can_become(new):
        raise WrongState(f"{what} is {current} and cannot become {new}")


State = TypeVar("State", TrialState, PackState)


def sources(target: State) -> list[State]:
    """The states from which `target` may be reached."""
    return [state for state in type(target) if state.can_become(target)]


def _locked_study(connection: Connection, study_id: str) -> SqlRow:
    # Not the whole row: a spec may have a megabyte.
    columns = [
        studies.c[name]
        for name in (
            "state",
            "attempt",
            "continuations",
            "owner",
            "key_id",
            "publishing",
            "cancel_requested",
            "device_class",
            "spec_hash",
            "total",
            "steps",
            "num_queued",
            "num_running",
            "last_event_seq",
        )
    ]
    row = connection.execute(select(*columns).where(studies.c.id == study_id).with_for_update()).one_or_none()
    if row is None:
        raise StudyNotFound(f"no study {study_id} in this ledger")
    return row


@contextmanager
def naming_the_place(place: Place) -> Iterator[None]:
    """Turn a driver's error that is about the place (full, read-only, locked, gone) into a PlaceError that names it.

    Raises:
        PlaceAway: the same question may be answered later. PlaceError: not by itself.
    """
    try:
        yield
    except DatabaseError as error:
        text = meaning(error)
        if text is None:
            raise
        kind = PlaceAway if is_passing(error) else PlaceError
        raise kind(f"ledger {place}: {text}") from error
    except PoolTimeout as error:
        raise PlaceAway(
            f"ledger {place}: all connections of this process were busy for {BUSY_TIMEOUT_S:.0f} s; try again later"
        ) from error

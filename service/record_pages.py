"""The records of one trial as a reader asks for them: columns, a range of steps, thinned, a page at a time."""

import io
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq
from anyio import CapacityLimiter

from schemas.errors import CorruptRecord, Problem
from schemas.problems import show
from schemas.records import PACK_TABLES, names
from service.codes import Code
from service.cursors import bad_cursor, seal, unseal
from service.errors import ApiProblem
from workers.ledger.ledger import Ledger
from workers.ledger.rows import TrialRow
from workers.records import Manifest, RecordStore, SegmentRef, arrow_schema
from workers.records.pages import RowPosition, Selection, has_steps, read_trial_rows
from workers.records.tables import write_options

MAX_READS = 3
"""How often a manifest is read anew when a segment is gone: a pack that goes on, or ends, replaces its segments."""
READERS = 4
"""Reads at a time: each may hold a row group of a few columns."""
_CURSOR = "records"


@dataclass(frozen=True)
class RecordPage:
    """Some rows, and the cursor of those that follow (None: there are no more now)."""

    rows: pa.Table
    next: str | None


class RecordPages:
    """Reads the records of trials. `limiter` bounds who reads at the same time."""

    def __init__(self, ledger: Ledger, records: str) -> None:
        """`records`: a local path or an fsspec URL; nothing is opened yet."""
        self._ledger = ledger
        self._store = RecordStore(records)
        self.limiter = CapacityLimiter(READERS)

    def read(self, trial: TrialRow, selection: Selection) -> RecordPage:
        """The rows of one trial that are durable by now; none of a trial that is not planned.

        Raises:
            CorruptRecord: a record file is not what its manifest says. PlaceError: records or ledger cannot be read.
        """
        manifest = self._manifest(trial)
        for reads_left in reversed(range(MAX_READS)):
            try:
                rows, position = read_trial_rows(self._store, manifest, trial.trial_id, selection)
                break
            except CorruptRecord:
                manifest, before = self._manifest(trial), manifest
                if not reads_left or manifest == before:
                    raise
        return RecordPage(rows, None if position is None else _sealed(selection.table, position))

    def _manifest(self, trial: TrialRow) -> Manifest:
        if trial.pack_id is None:
            return ()
        return tuple(
            SegmentRef(**segment) for pack in self._ledger.packs_by_id([trial.pack_id]) for segment in pack.manifest
        )


def selection_of(
    table: str,
    columns: str | None,
    *,
    first_step: int | None,
    last_step: int | None,
    every: int | None,
    limit: int,
    cursor: str | None,
) -> Selection:
    """What is asked for. `columns`: names with commas between; None: all.

    Raises:
        ApiProblem: 422, with every field that is refused; 400, a cursor that no page of this table gave.
    """
    problems = []
    if table not in PACK_TABLES:
        problems = [Problem("table", show(table), ", ".join(PACK_TABLES))]
    else:
        wanted = columns.split(",") if columns is not None else list(names(table))
        unknown = [name for name in wanted if name not in names(table)]
        if unknown:
            problems.append(Problem("columns", show(",".join(unknown)), ", ".join(names(table))))
        problems += _refused_steps(table, first_step, last_step, every)
    if problems:
        raise ApiProblem(Code.INVALID_PARAMETER, "; ".join(map(str, problems)), problems)
    selection = Selection(table, tuple(wanted), limit, first_step, last_step, every or 1)
    return selection if cursor is None else replace(selection, after=_unsealed(table, cursor))


def as_parquet(table: str, rows: pa.Table) -> bytes:
    """One Parquet file; meaning and unit of each column are in its metadata."""
    meant = arrow_schema(table, with_meaning=True)
    schema = pa.schema([meant.field(name) for name in rows.column_names])
    sink = io.BytesIO()
    pq.write_table(rows.cast(schema), sink, **write_options(schema))
    return sink.getvalue()


def _refused_steps(table: str, first_step: int | None, last_step: int | None, every: int | None) -> list[Problem]:
    asked = {"first_step": first_step, "last_step": last_step, "every": every}
    if not has_steps(table):
        said = f"no value: the rows of {table} belong to no step"
        return [Problem(name, str(value), said) for name, value in asked.items() if value is not None]
    if first_step is not None and last_step is not None and last_step < first_step:
        return [Problem("last_step", str(last_step), f"at least first_step, which is {first_step}")]
    return []


def _sealed(table: str, position: RowPosition) -> str:
    return seal(f"{_CURSOR}-{table}", f"{position.step}.{position.num_rows}")


def _unsealed(table: str, cursor: str) -> RowPosition:
    step, _, num_rows = unseal(f"{_CURSOR}-{table}", cursor).partition(".")
    if not (step.isdigit() and num_rows.isdigit() and len(step) + len(num_rows) < 30):
        raise bad_cursor(cursor)
    return RowPosition(int(step), int(num_rows))

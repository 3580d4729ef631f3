"""Some rows of one trial, read without its pack: only the segments, row groups and columns that can hold them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import records
from workers.records.manifest import Manifest, SegmentRef
from workers.records.store import RecordStore
from workers.records.tables import arrow_schema

BATCH_ROWS = 1 << 16
"""Rows that are decoded at a time."""


@dataclass(frozen=True, order=True)
class RowPosition:
    """Between two rows of one trial, in the order of their steps: behind `num_rows` rows of step `step`.

    It stays what it is when the pack goes on, or is compacted. Of a table without steps, all rows are at step 0.
    """

    step: int
    num_rows: int


@dataclass(frozen=True)
class Selection:
    """Which rows of a trial: first_step <= step <= last_step, step divisible by `every`, behind `after`.

    `columns` come in the order of schemas.records. `limit`: at most so many rows, at least 1.
    """

    table: str
    columns: Sequence[str]
    limit: int
    first_step: int | None = None
    last_step: int | None = None
    every: int = 1
    after: RowPosition | None = None


def has_steps(table: str) -> bool:
    """Whether rows of the table belong to a step: a selection by step makes sense."""
    return "step" in records.names(table)


def read_trial_rows(
    store: RecordStore, manifest: Manifest, trial_id: str, selection: Selection
) -> tuple[pa.Table, RowPosition | None]:
    """The rows of one trial that are selected, sorted by step, and where to go on (None: there are no more now).

    Memory: the rows that are returned, one batch, and 12 bytes for each row of one row group.

    Raises:
        CorruptRecord: a segment is missing, or is not what its manifest says. PlaceError: the place cannot be read.
    """
    num_wanted = selection.limit + 1  # one more row tells whether there is more
    num_given = selection.after.num_rows if selection.after else 0
    parts, steps = [_schema(selection).empty_table()], np.empty(0, np.int64)
    for segment in _segments(manifest, selection):
        with store.open_segment(segment) as file:
            row_M, step_M = _matching(file, trial_id, selection)
            is_given_M = _is_given(step_M, selection.after, num_given)
            num_given -= int(is_given_M.sum())
            row_M, step_M = row_M[~is_given_M], step_M[~is_given_M]
            num_left = num_wanted - len(steps)
            parts.append(_taken(file, row_M[:num_left], selection))
            steps = np.append(steps, step_M[:num_left])
        if len(steps) == num_wanted:
            break
    found = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    if found.num_rows < num_wanted:
        return found, None
    return found.slice(0, selection.limit), _behind(steps[: selection.limit], selection.after)


def _segments(manifest: Manifest, selection: Selection) -> Iterator[SegmentRef]:
    """Those that may hold a row; a segment's rows are of the steps that it names."""
    first = max(selection.first_step or 0, selection.after.step if selection.after else 0)
    for segment in manifest:
        if segment.table != selection.table:
            continue
        is_outside = segment.last_step < first or (
            selection.last_step is not None and segment.first_step > selection.last_step
        )
        if not (has_steps(selection.table) and is_outside):
            yield segment


def _matching(file: pq.ParquetFile, trial_id: str, selection: Selection) -> tuple[np.ndarray, np.ndarray]:
    """(row in the file, step) of every selected row, sorted by step: rows of one step stay in the order written."""
    rows, steps = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    first_row = 0
    for group in range(file.num_row_groups):
        row_M = np.flatnonzero(_is_of(trial_id, file.read_row_group(group, ["trial_id"], use_threads=False)))
        if len(row_M):
            step_M = np.zeros(len(row_M), np.int64)
            if has_steps(selection.table):
                step_M = file.read_row_group(group, ["step"], use_threads=False)["step"].to_numpy()[row_M]
            is_meant_M = _is_meant(step_M, selection)
            rows.append(row_M[is_meant_M] + first_row)
            steps.append(step_M[is_meant_M])
        first_row += file.metadata.row_group(group).num_rows
    row_M, step_M = np.concatenate(rows), np.concatenate(steps)
    order_M = np.argsort(step_M, kind="stable")
    return row_M[order_M], step_M[order_M]


def _is_of(trial_id: str, ids: pa.Table) -> np.ndarray:
    """Compared once per trial of the pack, not per row."""
    masks = [np.empty(0, bool)]
    for chunk in ids["trial_id"].chunks:
        wanted_by_code = np.array([one == trial_id for one in chunk.dictionary.to_pylist()], dtype=bool)
        masks.append(wanted_by_code[chunk.indices.to_numpy()])
    return np.concatenate(masks)


def _is_meant(step_M: np.ndarray, selection: Selection) -> np.ndarray:
    is_meant_M = step_M % selection.every == 0
    if selection.after is not None:
        is_meant_M &= step_M >= selection.after.step
    if selection.first_step is not None:
        is_meant_M &= step_M >= selection.first_step
    if selection.last_step is not None:
        is_meant_M &= step_M <= selection.last_step
    return is_meant_M


def _is_given(step_M: np.ndarray, after: RowPosition | None, num_given: int) -> np.ndarray:
    """Which rows an earlier page held: the first `num_given` of the step at which it ended."""
    if after is None:
        return np.zeros(len(step_M), bool)
    is_at_M = step_M == after.step
    return is_at_M & (np.cumsum(is_at_M) <= num_given)


def _behind(step_M: np.ndarray, after: RowPosition | None) -> RowPosition:
    last = int(step_M[-1])
    given_before = after.num_rows if after is not None and after.step == last else 0
    return RowPosition(last, given_before + int((step_M == last).sum()))


def _taken(file: pq.ParquetFile, row_M: np.ndarray, selection: Selection) -> pa.Table:
    """The rows of these numbers, in the order given, decoding no row group that holds none of them."""
    schema = _schema(selection)
    in_order_M = np.sort(row_M)
    parts = [schema.empty_table()]
    first_row = 0
    for group in range(file.num_row_groups):
        end_row = first_row + file.metadata.row_group(group).num_rows
        if np.searchsorted(in_order_M, first_row) < np.searchsorted(in_order_M, end_row):
            parts += _of_group(file, group, in_order_M - first_row, schema)
        first_row = end_row
    found = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    return found.take(pa.array(np.searchsorted(in_order_M, row_M)))


def _of_group(file: pq.ParquetFile, group: int, row_M: np.ndarray, schema: pa.Schema) -> Iterator[pa.Table]:
    first_row = 0
    batches = file.iter_batches(BATCH_ROWS, row_groups=[group], columns=schema.names, use_threads=False)
    for batch in batches:
        low, high = np.searchsorted(row_M, [first_row, first_row + batch.num_rows])
        if low < high:
            rows = pa.Table.from_batches([batch]).take(pa.array(row_M[low:high] - first_row))
            yield rows.select(schema.names).cast(schema)
        first_row += batch.num_rows
        if high == len(row_M):
            return


def _schema(selection: Selection) -> pa.Schema:
    return pa.schema([field for field in arrow_schema(selection.table) if field.name in selection.columns])

"""A chunk as the tables of schemas.records: rows of the members alone, sorted by trial and step."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.records import PACK_TABLES, TABLES, names
from schemas.trials import Member
from workers.science.evaluation import COLUMNS
from workers.science.probing import READING, PackProbes, Reading
from workers.science.protocols import Table
from workers.science.training import Rows

Event = tuple[str, int, str, Mapping[str, float | str]]
"""trial_id, step, kind, values."""

STEP_VALUES = ("lr", "train_loss", "gradient_norm", "update_norm")
NUMPY_TYPES = {"string": object, "int64": np.int64, "float64": np.float64, "bool": np.bool_}
DTYPES = {(table, column.name): NUMPY_TYPES[column.type] for table in PACK_TABLES for column in TABLES[table]}


def steps_table(rows: Rows, own: NDArray[np.bool_], members: Sequence[Member]) -> Table:
    """One row per member and step that is its own."""
    slots = [member.slot for member in members]
    kept_MT = own[:, slots].T
    member_of_row, row = np.nonzero(kept_MT)
    columns = {"lr": rows.lr, **rows.values}
    return {
        "trial_id": _ids(members)[member_of_row],
        "step": (rows.first_step + row).astype(np.int64),
        **{name: columns[name][:, slots].T[kept_MT] for name in STEP_VALUES},
    }


def evaluations_table(
    evaluations: Mapping[int, NDArray[np.float64]], end_step: NDArray[np.int64], members: Sequence[Member]
) -> Table:
    """One row per member and evaluation before the step at which it ended."""
    rows: list[tuple[Any, ...]] = []
    for member in members:
        for step, values in sorted(evaluations.items()):
            if _before_end(step, end_step[member.slot]):
                rows.append((member.trial.trial_id, step, *values[:, member.slot]))
    columns = ("trial_id", "step", *COLUMNS)
    return _table("evaluations", columns, rows)


def probes_table(
    readings: Sequence[tuple[Reading, NDArray[np.float64]]],
    end_step: NDArray[np.int64],
    members: Sequence[Member],
    probes: PackProbes,
) -> Table:
    """One row per member and point before the step at which it ended."""
    by_slot = {member.slot: member for member in members}
    rows: list[tuple[Any, ...]] = []
    for reading, values in readings:
        batches = probes.plans[reading.probe].batches
        for slot, numbers in zip(reading.slots, values.T, strict=True):
            if _before_end(reading.step, end_step[slot]):
                named = dict(zip((*READING, "lr"), numbers.tolist(), strict=True))
                named |= {"trial_id": by_slot[slot].trial.trial_id, "step": reading.step, "probe": reading.name}
                named |= {"batch_id": batches.batch_id, "batch_size": batches.size}
                rows.append(tuple(named[name] for name in names("probes")))
    order = {member.trial.trial_id: i for i, member in enumerate(members)}
    rows.sort(key=lambda row: (order[row[0]], row[1]))
    return _table("probes", names("probes"), rows)


def events_table(rows: Sequence[Event]) -> Table:
    """(trial_id, step, kind, values); non-finite values become strings."""
    return _table("events", names("events"), [(*row[:3], strict_json(row[3])) for row in rows])


def timings_table(seconds: Mapping[tuple[str, str], float]) -> Table:
    """(trial_id, phase) -> seconds."""
    return _table("timings", names("timings"), [(*key, value) for key, value in seconds.items()])


def strict_json(values: Mapping[str, float | str]) -> str:
    """JSON that every reader takes: NaN and the infinities as strings."""
    return json.dumps({name: value if _is_plain(value) else str(value) for name, value in values.items()})


def _is_plain(value: float | str) -> bool:
    return isinstance(value, str) or math.isfinite(value)


def _before_end(step: int, end_step: int) -> bool:
    return end_step < 0 or step < end_step


def _ids(members: Sequence[Member]) -> NDArray[np.object_]:
    return np.array([member.trial.trial_id for member in members], dtype=object)


def _table(table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> Table:
    assert tuple(columns) == names(table)
    by_column = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    return {name: _array(table, name, values) for name, values in zip(columns, by_column, strict=True)}


def _array(table: str, column: str, values: Sequence[Any]) -> NDArray[Any]:
    return np.array(values, dtype=object).astype(DTYPES[(table, column)])

"""How the tables of a result folder are read."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import records
from schemas.errors import PlaceError

_MISSING: dict[str, object] = {"string": "", "int64": -1, "float64": np.nan, "bool": False}


@dataclass(frozen=True)
class ResultFolder:
    """The Parquet tables directly in `path`; a table that was not written yet reads as one without rows."""

    path: Path

    def trials(self) -> pd.DataFrame:
        """One row per trial, done or not, every column of `schemas.records.TRIALS` present, swept paths after them.

        Raises:
            PlaceError: there is no `trials.parquet`, or it is no Parquet file.
        """
        if not self._file("trials").is_file():
            raise PlaceError(f"{self.path}: no trials.parquet, so this is no result folder")
        return _completed(self._read("trials", None, None), "trials")

    def rows(self, table: str, columns: Collection[str], trial_ids: Collection[str] | None = None) -> pd.DataFrame:
        """The `columns` of `table`, of the given trials alone where `trial_ids` is given, in order of (trial, step)."""
        frame = _completed(self._read(table, columns, trial_ids), table, columns)
        order = [name for name in ("trial_id", "step", "probe", "phase") if name in frame.columns]
        return frame.sort_values(order, kind="stable", ignore_index=True) if order else frame

    def _file(self, table: str) -> Path:
        return self.path / f"{table}.parquet"

    def _read(self, table: str, columns: Collection[str] | None, trial_ids: Collection[str] | None) -> pd.DataFrame:
        if not self._file(table).is_file():
            return pd.DataFrame()
        try:
            there = pq.read_schema(self._file(table)).names
            wanted = there if columns is None else [name for name in columns if name in there]
            chosen = None if trial_ids is None else [("trial_id", "in", sorted(set(trial_ids)) or [""])]
            read = pq.read_table(self._file(table), columns=wanted, filters=chosen, partitioning=None)
        except (pa.ArrowInvalid, OSError) as error:
            raise PlaceError(f"{self._file(table)}: cannot be read as Parquet ({error})") from error
        return read.to_pandas()


def _completed(frame: pd.DataFrame, table: str, columns: Collection[str] | None = None) -> pd.DataFrame:
    """`frame` with each stated column there, of its stated type, nulls as that type's word for "none"."""
    complete: dict[str, object] = {}
    for column in records.TABLES[table]:
        if columns is not None and column.name not in columns:
            continue
        missing = _MISSING.get(column.type)
        if column.name not in frame.columns:
            complete[column.name] = np.full(len(frame), missing)
        elif column.type == "float64":
            complete[column.name] = pd.to_numeric(frame[column.name]).to_numpy(dtype=float, na_value=np.nan)
        elif column.type == "string":
            complete[column.name] = frame[column.name].astype(object).where(frame[column.name].notna(), "").astype(str)
        else:
            values = frame[column.name]
            complete[column.name] = values.where(values.notna(), missing).astype(column.type)
    if columns is None:
        complete |= {name: frame[name] for name in frame.columns if name not in complete}
    return pd.DataFrame(complete, index=frame.index)

"""The tables of a result folder say what their columns mean, and replace older ones as a whole."""

import errno
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import records
from schemas.errors import CorruptRecord, PlaceError
from workers.records import arrow_schema, read_result_table, write_result_table

VALUES = {"string": "é", "int64": 7, "float64": float("inf"), "bool": True}


def table_of(name: str, num_rows: int = 3) -> pa.Table:
    rows = {column.name: [VALUES[column.type]] * num_rows for column in records.TABLES[name]}
    plain = [
        (column.name, {"float64": pa.float64(), "int64": pa.int64(), "bool": pa.bool_()}.get(column.type, pa.string()))
        for column in records.TABLES[name]
    ]
    return pa.table(rows, schema=pa.schema(plain))


@pytest.mark.parametrize("name", records.TABLES)
def test_every_table_comes_back_with_meaning_and_unit(tmp_path: Path, name: str) -> None:
    path = write_result_table(tmp_path / "new", name, table_of(name))
    assert path == tmp_path / "new" / f"{name}.parquet"
    read = read_result_table(tmp_path / "new", name)
    assert read.to_pylist() == table_of(name).to_pylist()
    for column in records.TABLES[name]:
        metadata = {key.decode(): value.decode() for key, value in read.schema.field(column.name).metadata.items()}
        assert (metadata["meaning"], metadata["unit"]) == (column.meaning, column.unit)


def test_numbers_that_are_not_finite_stay_themselves(tmp_path: Path) -> None:
    values = np.array([np.nan, np.inf, -np.inf, -0.0])
    table = table_of("timings", 4).set_column(2, "seconds", pa.array(values))
    write_result_table(tmp_path, "timings", table)
    read = read_result_table(tmp_path, "timings", columns=["seconds"])
    assert read["seconds"].null_count == 0
    assert read["seconds"].to_numpy().tobytes() == values.tobytes()


def test_swept_paths_become_columns_of_trials(tmp_path: Path) -> None:
    table = table_of("trials").add_column(11, "optimizer.weight_decay", pa.array([0.0, 0.1, 0.2]))
    write_result_table(tmp_path, "trials", table)
    read = read_result_table(tmp_path, "trials")
    assert read.column_names == table.column_names
    assert read["optimizer.weight_decay"].to_pylist() == [0.0, 0.1, 0.2]
    assert b"sweep" in read.schema.field("optimizer.weight_decay").metadata[b"meaning"]


@pytest.mark.parametrize(
    "table",
    [
        table_of("steps").drop_columns("lr"),
        table_of("steps").select(list(reversed(records.names("steps")))),
        table_of("steps").append_column("mine", pa.array([1, 2, 3])),
        table_of("steps").set_column(1, "step", pa.array(["one", "two", "three"])),
        table_of("steps").set_column(2, "lr", pa.array([None, 1.0, 2.0])),
    ],
    ids=["missing", "order", "unlisted", "type", "null"],
)
def test_columns_that_are_not_of_the_list_are_refused_and_nothing_is_written(tmp_path: Path, table: pa.Table) -> None:
    with pytest.raises(ValueError, match="steps"):
        write_result_table(tmp_path, "steps", table)
    assert list(tmp_path.iterdir()) == []


def test_parts_are_written_as_they_come(tmp_path: Path) -> None:
    parts = (table_of("steps", n) for n in (2, 0, 3))
    write_result_table(tmp_path, "steps", parts)
    assert read_result_table(tmp_path, "steps").num_rows == 5


def test_no_parts_make_a_table_without_rows(tmp_path: Path) -> None:
    write_result_table(tmp_path, "probes", iter(()))
    assert read_result_table(tmp_path, "probes").schema.names == list(records.names("probes"))


def test_pandas_reads_a_table_without_our_help(tmp_path: Path) -> None:
    path = write_result_table(tmp_path, "steps", arrow_schema("steps").empty_table())
    assert list(pq.read_table(path).to_pandas().columns) == list(records.names("steps"))


def test_a_disk_that_fills_up_leaves_the_older_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_result_table(tmp_path, "steps", table_of("steps", 2))

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refuse)
        with pytest.raises(PlaceError, match=r"No space left on device.*bytes free"):
            write_result_table(tmp_path, "steps", table_of("steps", 9))
    assert [path.name for path in tmp_path.iterdir()] == ["steps.parquet"]
    assert read_result_table(tmp_path, "steps").num_rows == 2


def test_a_table_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match=r"steps\.parquet: there is no such table"):
        read_result_table(tmp_path, "steps")


def test_a_file_that_is_no_parquet_is_said(tmp_path: Path) -> None:
    (tmp_path / "steps.parquet").write_bytes(b"PAR1 but not really PAR1")
    with pytest.raises(CorruptRecord, match=r"steps\.parquet"):
        read_result_table(tmp_path, "steps")

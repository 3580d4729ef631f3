"""The tables of a result folder: one Parquet file each, its columns saying what they mean."""

import os
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas import records
from schemas.errors import CorruptRecord, PlaceError
from workers.records.places import place_error, sync_file, sync_folder, temporary_beside
from workers.records.tables import arrow_schema, write_options

ROWS_PER_GROUP = 1 << 20


def write_result_table(folder: str | os.PathLike[str], table: str, data: pa.Table | Iterable[pa.Table]) -> Path:
    """Write `<table>.parquet`, whole or not at all, in place of an older one. Returns its path.

    Columns are those of schemas.records, in order; `trials` may hold more (one per swept path). Meaning and unit are in
    each field's metadata. An iterable of tables is written as it comes, so it may be larger than memory.

    Raises:
        ValueError: columns or types are not those of `table`. PlaceError: the folder is full or cannot be written.
    """
    path = Path(folder) / f"{table}.parquet"
    parts = iter([data] if isinstance(data, pa.Table) else data)
    first = next(parts, None)
    if first is None:
        first = arrow_schema(table).empty_table()
    schema = _described(table, first.schema)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_beside(path) as temporary:
            with pq.ParquetWriter(str(temporary), schema, **write_options(schema)) as writer:
                for part in chain([first], parts):
                    writer.write_table(_fitted(table, part, schema), row_group_size=ROWS_PER_GROUP)
            sync_file(temporary)
            os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise place_error(path.parent, "write", error, "--out") from error
    return path


def read_result_table(folder: str | os.PathLike[str], table: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A table of a result folder.

    Raises:
        PlaceError: the folder has no such table. CorruptRecord: the file is no Parquet.
    """
    path = Path(folder) / f"{table}.parquet"
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=None if columns is None else list(columns))
    except FileNotFoundError as error:
        raise PlaceError(f"{path}: there is no such table; a result folder has {', '.join(records.TABLES)}") from error
    except (pa.ArrowException, OSError) as error:
        raise CorruptRecord(f"{path}: {error}") from error


def _described(table: str, found: pa.Schema) -> pa.Schema:
    """The schema that is written: known columns as the list says, swept ones as they came."""
    known = arrow_schema(table, with_meaning=True)
    if [name for name in found.names if name in known.names] != known.names:
        raise ValueError(f"{table}: got columns {', '.join(found.names)}, allowed {', '.join(known.names)}, in order")
    extra = [name for name in found.names if name not in known.names]
    if extra and table != "trials":
        raise ValueError(f"{table}: got columns {', '.join(extra)} that schemas.records does not list")
    return pa.schema([known.field(field.name) if field.name in known.names else _swept(field) for field in found])


def _swept(field: pa.Field) -> pa.Field:
    return field.with_metadata({"meaning": "value that the sweep at this path took", "unit": ""})


def _fitted(table: str, part: pa.Table, schema: pa.Schema) -> pa.Table:
    try:
        return part.cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise ValueError(f"{table}: {error}") from error

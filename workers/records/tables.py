"""Record columns as Parquet bytes and back: types from schemas.records, nothing inferred."""

import io
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas import records

Columns = Mapping[str, object]
"""Column name -> one-dimensional numpy array (or list) of equal lengths."""

_ARROW_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}
_NUMPY_TYPES: dict[pa.DataType, type] = {
    pa.int32(): np.int32,
    pa.int64(): np.int64,
    pa.float64(): np.float64,
    pa.bool_(): np.bool_,
}
TRIAL_ID_TYPE = pa.dictionary(pa.int32(), pa.string())
COMPRESSION = "zstd"


@lru_cache
def arrow_schema(table: str, *, with_meaning: bool = False) -> pa.Schema:
    """The Arrow schema of `table`: no column holds nulls, trial_id is dictionary-encoded where it repeats.

    With `with_meaning`, each field's metadata says its `meaning` and `unit`.
    """
    return pa.schema([_field(table, column, with_meaning) for column in records.TABLES[table]])


def _field(table: str, column: records.Column, with_meaning: bool) -> pa.Field:
    repeats = column.name == "trial_id" and table != "trials"
    metadata = {"meaning": column.meaning, "unit": column.unit} if with_meaning else None
    return pa.field(
        column.name, TRIAL_ID_TYPE if repeats else _ARROW_TYPES[column.type], nullable=False, metadata=metadata
    )


def num_rows(table: str, columns: Columns) -> int:
    """How many rows `columns` are.

    Raises:
        ValueError: not exactly the columns of `table`, or of different lengths.
    """
    if table not in records.PACK_TABLES:
        raise ValueError(f"table: got {table!r}, allowed {', '.join(records.PACK_TABLES)}")
    if tuple(columns) != records.names(table):
        raise ValueError(f"{table}: got columns {', '.join(columns)}, allowed {', '.join(records.names(table))}")
    lengths = {name: len(values) for name, values in columns.items()}  # type: ignore[arg-type]
    if len(set(lengths.values())) != 1:
        raise ValueError(f"{table}: columns of different lengths: {lengths}")
    return next(iter(lengths.values()))


def to_arrow(table: str, columns: Columns) -> pa.Table:
    """The columns as an Arrow table of `arrow_schema(table)`; NaN and infinities stay what they are.

    Raises:
        ValueError: wrong columns, or a value that its column's type cannot hold exactly.
    """
    num_rows(table, columns)
    schema = arrow_schema(table)
    arrays = [_array(table, field, columns[field.name]) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(table: str, field: pa.Field, values: object) -> pa.Array:
    try:
        if pa.types.is_dictionary(field.type):
            return _repeating_text(_texts(values))
        if pa.types.is_string(field.type):
            return _text(_texts(values))
        return _numbers(values, field.type)
    except ValueError as error:
        raise ValueError(f"{table}.{field.name}: {error}") from error


# Arrays are made from buffers, because pyarrow.array() imports pandas: 0.2 s and 40 MB in every trainer.


def _numbers(values: object, kind: pa.DataType) -> pa.Array:
    found = np.asarray(values)
    wanted = np.dtype(_NUMPY_TYPES[kind])
    if found.ndim != 1 or not np.can_cast(found.dtype, wanted, "safe"):
        raise ValueError(f"got {found.dtype} of shape {found.shape}, allowed one dimension of {wanted}")
    is_bits = pa.types.is_boolean(kind)
    content = np.packbits(found, bitorder="little") if is_bits else np.ascontiguousarray(found, wanted)
    return pa.Array.from_buffers(kind, len(found), [None, pa.py_buffer(content)])


def _texts(values: object) -> list[str]:
    texts: list[str] = values.tolist() if isinstance(values, np.ndarray) else list(values)  # type: ignore[call-overload]
    for text in dict.fromkeys(texts):
        if not isinstance(text, str):
            raise ValueError(f"got {text!r}, allowed text")
    return texts


def _text(texts: list[str]) -> pa.Array:
    encoded = [text.encode() for text in texts]
    ends = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(one) for one in encoded], out=ends[1:])
    return pa.Array.from_buffers(pa.string(), len(encoded), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))])


def _repeating_text(texts: list[str]) -> pa.Array:
    codes = {text: code for code, text in enumerate(dict.fromkeys(texts))}
    indices = np.fromiter((codes[text] for text in texts), np.int32, len(texts))
    return pa.DictionaryArray.from_arrays(_numbers(indices, pa.int32()), _text(list(codes)))


def encode(data: pa.Table) -> bytes:
    """Parquet bytes of a pack table: the same table gives the same bytes."""
    sink = io.BytesIO()
    pq.write_table(data, sink, store_schema=False, **write_options(data.schema))
    return sink.getvalue()


def write_options(schema: pa.Schema) -> dict[str, object]:
    """How tables are laid out in Parquet.

    Only strings get a dictionary, steps are stored as differences and numbers split by byte: on loss curves that takes
    fewer bytes and less time than Parquet's defaults.
    """
    is_text = [pa.types.is_string(field.type) or pa.types.is_dictionary(field.type) for field in schema]
    return {
        "compression": COMPRESSION,
        "compression_level": 1,
        "use_dictionary": [field.name for field, text in zip(schema, is_text, strict=True) if text],
        "column_encoding": {
            field.name: "DELTA_BINARY_PACKED" if pa.types.is_integer(field.type) else "BYTE_STREAM_SPLIT"
            for field in schema
            if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        },
        "write_statistics": False,
    }


def decode(table: str, data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """The inverse of `encode`, reading `columns` only (in the table's own order).

    Raises:
        pyarrow.ArrowInvalid, OSError: the bytes are no Parquet file of this table.
    """
    wanted = arrow_schema(table)
    if columns is not None:
        wanted = pa.schema([field for field in wanted if field.name in columns])
    # One thread: reads of many segments run beside each other already.
    file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=["trial_id"])
    found = file.read(columns=wanted.names, use_threads=False)
    return found.cast(wanted)


def only_rows(
    data: pa.Table, *, trial_ids: frozenset[str] | None, min_step: int | None, max_step: int | None
) -> pa.Table:
    """The rows of the given trials with min_step <= step <= max_step (None: no bound)."""
    mask = None if trial_ids is None else _is_one_of(data["trial_id"], trial_ids)
    for bound, compare in ((min_step, pc.greater_equal), (max_step, pc.less_equal)):
        if bound is not None:
            kept = compare(data["step"], bound)
            mask = kept if mask is None else pc.and_(mask, kept)
    return data if mask is None else data.filter(mask)


def _is_one_of(trial_id: pa.ChunkedArray, wanted: frozenset[str]) -> pa.ChunkedArray:
    """Compared once per trial, not per row: the dictionary holds a few ids, the column thousands of rows."""
    masks = []
    for chunk in trial_id.chunks:
        wanted_by_code = np.array([one in wanted for one in chunk.dictionary.to_pylist()], dtype=bool)
        masks.append(pa.array(wanted_by_code[chunk.indices.to_numpy()]))
    return pa.chunked_array(masks, pa.bool_())

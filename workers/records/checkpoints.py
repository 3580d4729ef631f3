"""A loop's state as the bytes of one npz file: arrays as arrays, all else as JSON beside them. Never pickle."""

import io
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from schemas.errors import CorruptRecord

_TREE = "state.json"


def encode(state: Mapping[str, object]) -> bytes:
    """The state as npz bytes; the same state gives the same bytes.

    Values: numpy arrays and scalars, None, bool, int, float (NaN and infinities too), str, and lists, tuples and
    mappings of these.

    Raises:
        TypeError: a value of another type, an array of objects, or a key that is no string.
    """
    arrays: dict[str, np.ndarray] = {}
    tree = _packed(state, arrays, "state")
    text = json.dumps(tree, allow_nan=False, separators=(",", ":")).encode()
    sink = io.BytesIO()
    np.savez(sink, allow_pickle=False, **{_TREE: np.frombuffer(text, np.uint8)}, **arrays)
    return sink.getvalue()


def decode(data: bytes) -> dict[str, Any]:
    """The inverse of `encode`. Raises CorruptRecord for bytes that it did not make."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            tree = json.loads(file[_TREE].tobytes())
            state: dict[str, Any] = _unpacked(tree, {name: file[name] for name in file.files})
    except Exception as error:  # zipfile, zlib, json and numpy each have their own way to say it
        raise CorruptRecord(f"checkpoint: not a state that was saved here: {error}") from error
    return state


def _packed(value: object, arrays: dict[str, np.ndarray], where: str) -> object:
    """JSON for `value`; what JSON has no word for becomes a one-key object, and so does every mapping."""
    if isinstance(value, np.ndarray | np.generic):
        return _packed_array(value, arrays, where)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, list):
        return [_packed(item, arrays, where) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [_packed(item, arrays, where) for item in value]}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where}: got the key {key!r}, allowed strings")
        return {"map": {key: _packed(item, arrays, f"{where}.{key}") for key, item in value.items()}}
    raise TypeError(f"{where}: got {type(value).__name__}, allowed arrays, JSON scalars, lists and mappings")


def _packed_array(value: np.ndarray | np.generic, arrays: dict[str, np.ndarray], where: str) -> object:
    if value.dtype.hasobject:
        raise TypeError(f"{where}: got an array of objects, allowed arrays of numbers or text")
    name = f"a{len(arrays)}"
    arrays[name] = np.asarray(value)
    return {"scalar" if isinstance(value, np.generic) else "array": name}


def _unpacked(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == "map":
        return {key: _unpacked(item, arrays) for key, item in content.items()}
    if kind == "tuple":
        return tuple(_unpacked(item, arrays) for item in content)
    if kind == "float":
        return float(content)
    return arrays[content][()] if kind == "scalar" else arrays[content]

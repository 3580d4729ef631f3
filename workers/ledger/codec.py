"""How values that may hold NaN or infinity are kept in SQL: as strict JSON text that reads back unchanged.

JSON has no NaN and SQLite turns a NaN in a REAL column into NULL, so a non-finite float is spelled as the string "NaN",
"Infinity" or "-Infinity". A genuine string of that spelling gets a "=" in front, which is taken off again.
"""

import json
import math
import re
from typing import Any

from sqlalchemy import Dialect, Text
from sqlalchemy.types import TypeDecorator

_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
# One for all: json.dumps would make one for each of a study's thousands of values.
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_SPELLING = re.compile(r"=*(?:NaN|-?Infinity)")
_IN_TEXT = re.compile(r'(?:NaN|Infinity)"')


def encode(value: Any) -> str:
    """Strict JSON text of `value`: dicts with string keys, lists or tuples, strings, numbers, booleans, None.

    Raises:
        TypeError: something that is none of these (a numpy scalar, say).
    """
    try:
        text = _ENCODER.encode(value)
    except ValueError:
        return _ENCODER.encode(_spelled(value))
    if _IN_TEXT.search(text):
        return _ENCODER.encode(_spelled(value))
    return text


def decode(text: str) -> Any:
    """The value that `encode` was given (tuples as lists)."""
    value = json.loads(text)
    # Walking every value costs more than parsing it; most hold no such spelling.
    return _read(value) if _IN_TEXT.search(text) else value


def _spelled(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, str) and _SPELLING.fullmatch(value):
        return "=" + value
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value]
    return value


def _read(value: Any) -> Any:
    if isinstance(value, str) and _SPELLING.fullmatch(value):
        return _FLOATS[value] if value in _FLOATS else value[1:]
    if isinstance(value, dict):
        return {key: _read(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_read(item) for item in value]
    return value


class JsonText(TypeDecorator[Any]):
    """A text column that holds any JSON value, non-finite floats included; None is NULL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Python to SQL."""
        return None if value is None else encode(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """SQL to Python."""
        return None if value is None else decode(value)

"""JSON as the service writes it: strict; numbers that are not finite are the strings NaN, Infinity, -Infinity."""

from typing import Annotated, Any

import pydantic_core
from pydantic import WithJsonSchema

NUMBER_SCHEMA = {"anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}

Number = Annotated[float, WithJsonSchema(NUMBER_SCHEMA)]
"""A number that a trial gave, so it may be no finite one: then it is one of three strings on the wire."""


def to_json(value: Any) -> bytes:
    """Strict JSON of pydantic models, dicts, lists, texts, times and numbers."""
    return pydantic_core.to_json(value, inf_nan_mode="strings")

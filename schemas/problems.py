"""Validation errors as problems that a person can act on: field, got, allowed."""

import difflib
import math
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from schemas.errors import Problem

_BOUNDS = {"greater_than": "above {gt}", "greater_than_equal": "at least {ge}"}
_BOUNDS |= {"less_than": "below {lt}", "less_than_equal": "at most {le}", "multiple_of": "a multiple of {multiple_of}"}
_BOUNDS |= {"too_short": "at least {min_length} items", "too_long": "at most {max_length} items"}
_BOUNDS |= {"string_too_short": "at least {min_length} characters", "string_too_long": "at most {max_length} characters"}
_TYPES = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "string_type": "a text",
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "list_type": "a list",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "string_pattern_mismatch": "letters, digits, spaces and . _ + = , - (a letter or digit first)",
}


def problems_of(error: ValidationError, raw: Any, where: str) -> list[Problem]:
    """The problems of one validation error; alternatives of one field are joined with `or`."""
    merged: dict[str, tuple[str, list[str]]] = {}
    for details in error.errors():
        field, got = _place(details, raw, where)
        got_said, allowed = merged.setdefault(field, (got, []))
        said = _allowed(details, raw)
        if said not in allowed:
            allowed.append(said)
    return [
        Problem(field, got, " or ".join(allowed))
        for field, (got, allowed) in merged.items()
        # A union says of one branch "not a list" where the other branch knows better what is wrong inside.
        if not (set(allowed) <= set(_TYPES.values()) and any(_inside(other, field) for other in merged))
    ]


def _inside(other: str, field: str) -> bool:
    return other.startswith((f"{field}.", f"{field}["))


def show(value: Any) -> str:
    """A value as a person wrote it, at most 60 characters; non-finite floats by name."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, BaseModel):
        value = value.model_dump()
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "..."


def _place(details: ErrorDetails, raw: Any, where: str) -> tuple[str, str]:
    # pydantic's location names union branches too; only what stands in the document is a place there.
    field, node, last = where, raw, details["loc"][-1] if details["loc"] else ""
    for part in details["loc"]:
        if isinstance(node, dict) and part in node:
            field, node = _join(field, part), node[part]
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            field, node = _join(field, part), node[part]
        elif part == last and details["type"] == "missing":
            return _join(field, part), "nothing"
    if details["type"] in ("union_tag_invalid", "union_tag_not_found"):
        tag = details["ctx"]["discriminator"].strip("'")
        got = node.get(tag, None) if isinstance(node, dict) else node
        return _join(field, tag), "nothing" if got is None else show(got)
    if details["type"] == "value_error":
        return field, show(details["input"])
    return field, show(node)


def _allowed(details: ErrorDetails, raw: Any) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**context)
    if kind in _TYPES:
        return _TYPES[kind]
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    if kind == "union_tag_invalid":
        return str(context["expected_tags"]).replace("'", "")
    if kind in ("missing", "union_tag_not_found"):
        return "a value: the field is required"
    if kind == "extra_forbidden":
        return "no field of this name"
    if kind == "value_error":
        return str(context["error"])
    return details["msg"][0].lower() + details["msg"][1:]


def did_you_mean(name: str, known: list[str]) -> str:
    """` (did you mean NAME?)` where one is close."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _join(field: str, part: str | int) -> str:
    if isinstance(part, int):
        return f"{field}[{part}]"
    return f"{field}.{part}" if field else str(part)

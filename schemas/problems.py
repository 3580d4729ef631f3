"""Validation errors as problems that a person can act on: field, got, allowed."""

import difflib
import math
import re
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from schemas.base import NAME_PATTERN, PART_NAME_PATTERN, PROSE_PATTERN, SHA256_PATTERN
from schemas.errors import Problem

MAX_SUGGESTED = 100
"""Unknown fields of one document for which a known one that is close is looked for: that is slow, and nobody mistypes
more."""
_BOUNDS = {"greater_than": "above {gt}", "greater_than_equal": "at least {ge}"}
_BOUNDS |= {"less_than": "below {lt}", "less_than_equal": "at most {le}", "multiple_of": "a multiple of {multiple_of}"}
_BOUNDS |= {"too_short": "a list of at least {min_length}", "too_long": "a list of at most {max_length}"}
_BOUNDS |= {
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
}
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
}
_PATTERNS = {
    NAME_PATTERN: "letters, digits, spaces and . _ + = , - (a letter or digit first)",
    PART_NAME_PATTERN: "letters, digits and _ . - (a letter or _ first)",
    SHA256_PATTERN: "64 digits of a sha256, 0-9 and a-f",
    PROSE_PATTERN: "text without control characters (line breaks and tabs are fine)",
}


def problems_of(error: ValidationError, raw: Any, where: str, model: Any, extra: Sequence[str] = ()) -> list[Problem]:
    """The problems of one validation error; alternatives of one field are joined with `or`.

    Args:
        model: the type that refused `raw`, for the names of fields that may stand where an unknown one does.
        extra: names that may stand at the top of `raw` besides the model's own.
    """
    merged: dict[str, tuple[str, list[str]]] = {}
    num_unknown = 0
    for details in error.errors():
        field, got = _place(details, raw, where)
        said = _allowed(details, got)
        if details["type"] == "extra_forbidden" and (num_unknown := num_unknown + 1) <= MAX_SUGGESTED:
            known = [*_fields_at(model, details["loc"]), *(extra if len(details["loc"]) == 1 else ())]
            said += did_you_mean(str(details["loc"][-1]), known)
        _, allowed = merged.setdefault(field, (got, []))
        if said not in allowed:
            allowed.append(said)
    refused_inside = {outer for field in merged for outer in _outer_fields(field)}
    return [
        Problem(field, got, " or ".join(allowed))
        for field, (got, allowed) in merged.items()
        # A union, or a list whose items are all wrong, is also called wrong as a whole: what is inside says it better.
        if not (set(allowed) <= _WHOLE and field in refused_inside)
    ]


_WHOLE = {*_TYPES.values(), *(f"a list of at least {length}" for length in (1, 2))}


def _fields_at(model: Any, place: Sequence[str | int]) -> list[str]:
    """The field names of the models that stand at the parent of `place` (a pydantic location, union tags included)."""
    models = _models(model)
    for part in place[:-1]:
        inner = [
            one for model in models if part in model.model_fields for one in _models(model.model_fields[str(part)])
        ]
        models = inner or [model for model in models if part in _tags(model)] or models
    return sorted({name for model in models for name in model.model_fields})


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, FieldInfo):
        annotation = annotation.annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    fields = (model.model_fields.get(name) for name in ("kind", "task"))
    return (model.__name__, *(tag for field in fields if field is not None for tag in get_args(field.annotation)))


def inside(other: str, field: str) -> bool:
    """Whether a field is a part of another one."""
    return other.startswith((f"{field}.", f"{field}["))


def _outer_fields(field: str) -> list[str]:
    """Every field that this one is a part of: `seeds` and `seeds[0]` for `seeds[0].noise`."""
    return [field[: found.start()] for found in re.finditer(r"[.\[]", field)]


def show(value: Any) -> str:
    """A value as a person wrote it, at most 60 characters; non-finite floats by name."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, int) and value.bit_length() > 1000:
        return f"an integer of {value.bit_length()} bits"  # Python refuses to write out more than 4,300 digits
    return shortened(repr(value))


def shortened(text: str) -> str:
    """One printable line of at most 60 characters: what stands in a document may hold anything."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= 60 else text[:57] + "..."


def show_place(text: str) -> str:
    """A path or an address on one line, in at most 200 characters; what cannot be printed is written as an escape."""
    line = escaped(text)
    return line if len(line) <= 200 else line[:197] + "..."


def escaped(text: str) -> str:
    """The text with an escape in the place of whatever cannot be printed: a terminal obeys control characters."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def _place(details: ErrorDetails, raw: Any, where: str) -> tuple[str, str]:
    # pydantic's location names union branches too; only what stands in the document is a place there.
    field, node, last = where, raw, details["loc"][-1] if details["loc"] else ""
    for part in details["loc"]:
        in_list = isinstance(node, list) and isinstance(part, int) and part < len(node)
        if in_list or (isinstance(node, dict) and part in node):
            field, node = join_field(field, part), node[part]
        elif part == last and details["type"] == "missing":
            return join_field(field, part), "nothing"
    if details["type"] in ("union_tag_invalid", "union_tag_not_found"):
        tag = details["ctx"]["discriminator"].strip("'")
        if not isinstance(node, dict):
            return field, show(node)
        return join_field(field, tag), "nothing" if node.get(tag) is None else show(node[tag])
    if details["type"] == "value_error":
        return field, show(details["input"])
    return field, show(node)


def _allowed(details: ErrorDetails, got: str) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**context)
    if kind in _TYPES:
        return _TYPES[kind]
    if kind == "string_pattern_mismatch":
        return _PATTERNS[str(context["pattern"])]
    if kind == "literal_error":
        expected = str(context["expected"]).replace("'", "")
        return expected + did_you_mean(got.strip("'"), re.split(", | or ", expected))
    if kind == "union_tag_invalid":
        tags = str(context["expected_tags"]).replace("'", "")
        return tags + did_you_mean(str(context["tag"]), tags.split(", "))
    if kind == "union_tag_not_found" and got != "nothing":
        return "a mapping"
    if kind in ("missing", "union_tag_not_found"):
        return "a value: the field is required"
    if kind == "extra_forbidden":
        return "no field of this name"
    if kind == "value_error":
        return str(context["error"])
    return details["msg"][0].lower() + details["msg"][1:]


def did_you_mean(name: str, known: list[str]) -> str:
    """` (did you mean NAME?)` where one is close."""
    close = [each for each in known if each.lower() == name.lower()] or difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def join_field(field: str, part: str | int) -> str:
    """`optimizers[0]`, then `optimizers[0].momentum`; a key that is no plain word is quoted."""
    if isinstance(part, int):
        return f"{field}[{part}]"
    word = part if re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", part) else show(part)
    return f"{field}.{word}" if field else word

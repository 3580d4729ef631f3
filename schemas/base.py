"""The base of every spec model, and the canonical form that ids are hashed from."""

import hashlib
from typing import Annotated, Any

import rfc8785
from pydantic import BaseModel, ConfigDict, Field

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+=,\- ]*$"
PART_NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_.-]*$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"
PROSE_PATTERN = r"^[^\x00-\x08\x0b-\x1f\x7f]*$"

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=NAME_PATTERN)]
"""A name that a person gives: safe as a column value, in a file name and on a command line."""

MAX_INT = 2**53 - 1
"""The largest integer that JSON carries everywhere without loss (RFC 8785, 3.2.2.3)."""

PositiveInt = Annotated[int, Field(ge=1, le=MAX_INT)]
NonNegativeInt = Annotated[int, Field(ge=0, le=MAX_INT)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Spec(BaseModel):
    """Strict (no coercion), frozen, no unknown field, no NaN or infinity."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


def canonical_json(value: Any) -> bytes:
    """The RFC 8785 (JCS) form of a JSON value: one byte string per value, whatever the key order or the spacing.

    Raises:
        rfc8785.CanonicalizationError: a float is not finite, or an integer is beyond 2**53.
    """
    return rfc8785.dumps(value)


def content_hash(value: Any) -> str:
    """SHA-256 (64 hex digits) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def without_defaults(model: BaseModel) -> dict[str, Any]:
    """What `model` says beyond its defaults, `kind` always included: the part that ids are hashed from.

    A field added later with a default changes no old id, because it is not in this form until it is set.
    """
    said: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if name != "kind" and not field.is_required() and value == field.get_default(call_default_factory=True):
            continue
        said[name] = _plain(value)
    return said


def require_one_of(**fields: Any) -> None:
    """For a validator of alternatives: of these fields, by name, one is stated and the others are None.

    Raises:
        ValueError: none is, or several are.
    """
    if sum(value is not None for value in fields.values()) != 1:
        raise ValueError(f"exactly one of {', '.join(fields)}")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return without_defaults(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value

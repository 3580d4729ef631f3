"""The spec as JSON Schema (draft 2020-12), for editors and other programs; sweeps may stand at any value of an axis."""

from typing import Any

from pydantic import TypeAdapter

from schemas.entries import FAMILIES
from schemas.learning_rates import PeakLRs
from schemas.study import StudyFields

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_UNSWEPT = ("name", "peak_lrs")
"""A name is given to the sweep as a whole, and peak learning rates are an axis of their own."""


def study_json_schema() -> dict[str, Any]:
    """What a study document may look like. Rules between fields (a warmup inside its run, say) are not in it."""
    schema = StudyFields.model_json_schema(ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = schema.pop("$defs", {})
    for axis, (family, union) in FAMILIES.items():
        item = TypeAdapter[Any](union).json_schema(ref_template=f"#/$defs/{family}.{{model}}")
        for name, definition in item.pop("$defs", {}).items():
            definitions[f"{family}.{name}"] = definition if name in _plain_names() else _sweepable(definition)
        definitions[family] = _sweepable(item) if "properties" in item else _any_of(item)
        schema["properties"][axis] = {"type": "array", "minItems": 1, "items": {"$ref": f"#/$defs/{family}"}}
        schema["required"] = [*schema["required"], axis]
    return {"$schema": DIALECT, **schema, "title": "Study", "$defs": definitions}


def _plain_names() -> set[str]:
    return {PeakLRs.__name__, *PeakLRs.model_json_schema().get("$defs", {})}


def _sweepable(definition: dict[str, Any]) -> dict[str, Any]:
    properties = definition.get("properties", {})
    swept = {name: value if name in _UNSWEPT else _or_sweep(value) for name, value in properties.items()}
    return {**definition, "properties": swept} if properties else definition


def _or_sweep(value: dict[str, Any]) -> dict[str, Any]:
    """A value, or a list of such values in its place; inside a list every item may be swept as well."""
    value = _any_of(value)
    # `kind` decides which fields stand beside it, so that a swept one belongs to no single kind.
    swept_item = {"type": "string"} if "const" in value else value
    inner = _sweepable_items(value)
    sweep = {
        "type": "object",
        "properties": {"sweep": {"type": "array", "minItems": 1, "uniqueItems": True, "items": swept_item}},
        "required": ["sweep"],
        "additionalProperties": False,
    }
    said: dict[str, Any] = {name: inner.pop(name) for name in ("title", "default", "description") if name in inner}
    return {**said, "anyOf": [inner, sweep]}


def _sweepable_items(value: dict[str, Any]) -> dict[str, Any]:
    inner = {**value}
    if isinstance(inner.get("items"), dict):
        inner["items"] = _or_sweep(inner["items"])
    for word, change in (("prefixItems", _or_sweep), ("anyOf", _sweepable_items)):
        if word in inner:
            inner[word] = [change(item) for item in inner[word]]
    return inner


def _any_of(value: dict[str, Any]) -> dict[str, Any]:
    # One of several kinds: with a swept `kind` more than one may fit, so `anyOf`; the discriminator is OpenAPI's word.
    plain = {name: inner for name, inner in value.items() if name not in ("oneOf", "discriminator")}
    return {**plain, "anyOf": value["oneOf"]} if "oneOf" in value else plain

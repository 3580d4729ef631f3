"""What is left of a refused document once the refused places are taken out: the rest is checked in the same go."""

import copy
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

Place = tuple[str | int, ...]


def refused_places(error: ValidationError, raw: Any) -> set[Place]:
    """Where in `raw` the refused values stand; for a field that is missing, where it is missed."""
    return {_place(details["loc"], raw) for details in error.errors(include_url=False, include_context=False)}


def without_places(raw: dict[str, Any], places: Iterable[Place]) -> dict[str, Any]:
    """A copy of `raw` without them; an item of a list takes its whole list with it."""
    kept = copy.deepcopy(raw)
    for place in places:
        keys = _until_a_list(place)
        node: Any = kept
        for key in keys[:-1]:
            node = node.get(key, {})
        if keys:
            node.pop(keys[-1], None)
    return kept


def _until_a_list(place: Place) -> list[str]:
    keys: list[str] = []
    for part in place:
        if isinstance(part, int):
            break
        keys.append(part)
    return keys


def _place(loc: tuple[str | int, ...], raw: Any) -> Place:
    # pydantic's location names union branches too: only what stands in the document is a place there.
    place: list[str | int] = []
    for part in loc:
        in_list = isinstance(raw, list) and isinstance(part, int) and part < len(raw)
        if in_list or (isinstance(raw, dict) and part in raw):
            place.append(part)
            raw = raw[part]
    return tuple(place)

"""The kinds that a union of specs tells apart."""

from typing import Any, get_args


def members(union: Any) -> tuple[Any, ...]:
    """The models of a union, annotated or not; of a single model, itself."""
    if isinstance(union, type):
        return (union,)
    inner = get_args(union)[0]
    return get_args(inner) or (inner,)


def tags(union: Any, tag: str = "kind") -> tuple[str, ...]:
    """What stands at `tag` of each of them, in order."""
    return tuple(get_args(model.model_fields[tag].annotation)[0] for model in members(union))

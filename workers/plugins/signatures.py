"""Which options a part takes, from its signature."""

import inspect
import json
import types
from collections.abc import Callable
from typing import Any, Literal

from schemas.plugins import GIVEN, Group, Parameter

Type = Literal["", "int", "float", "str", "bool"]
# as objects, and as `from __future__ import annotations` leaves them
TYPES: dict[Any, Type] = {int: "int", float: "float", str: "str", bool: "bool"}
TYPES |= {"int": "int", "float": "float", "str": "str", "bool": "bool"}
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def parameters_of(group: Group, part: Callable[..., Any]) -> tuple[tuple[Parameter, ...], bool, dict[str, Any]]:
    """Its options, whether it takes any other, and the defaults that JSON can say.

    Raises:
        ValueError: what it is called with has no place in its signature; the message says which.
    """
    try:
        found = list(inspect.signature(part).parameters.values())
    except (TypeError, ValueError) as error:
        raise ValueError(f"a signature that can be read ({error})") from error
    given = _given(group, found)
    rest = [one for one in found if one.name not in given]
    options = [one for one in rest if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    if bad := [one.name for one in options if one.kind is one.POSITIONAL_ONLY]:
        raise ValueError(f"options that can be given by name, which {', '.join(bad)} cannot")
    parameters = tuple(
        Parameter(name=one.name, is_required=one.default is one.empty, type=_type(one)) for one in options
    )
    defaults = {one.name: one.default for one in options if one.default is not one.empty and _is_json(one.default)}
    return parameters, any(one.kind is one.VAR_KEYWORD for one in rest), json.loads(json.dumps(defaults))


def _given(group: Group, found: list[inspect.Parameter]) -> tuple[str, ...]:
    takes_any = any(one.kind is one.VAR_KEYWORD for one in found)
    if group in ("losses", "optimizers"):
        # by position: the outputs and the targets, the parameters
        count = {"losses": 2, "optimizers": 1}[group]
        by_place = [one.name for one in found if one.kind in _POSITIONAL][:count]
        if len(by_place) < count and not any(one.kind is one.VAR_POSITIONAL for one in found):
            raise ValueError(f"a signature that begins with {', '.join(GIVEN[group][:count])}")
        by_name: tuple[str, ...] = ("lr",) if group == "optimizers" else ()
    else:
        by_place, by_name = [], GIVEN[group]
    missing = [name for name in by_name if not takes_any and name not in {one.name for one in found}]
    if missing:
        raise ValueError(f"a signature with {', '.join(missing)}")
    return (*by_place, *by_name)


def _type(parameter: inspect.Parameter) -> Type:
    annotation = parameter.annotation
    if isinstance(annotation, types.GenericAlias | types.UnionType) or not _is_hashable(annotation):
        return ""
    # `width: int = None` takes null as well
    return "" if parameter.default is None else TYPES.get(annotation, "")


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True

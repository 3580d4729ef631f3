"""Which plain words of a YAML document are numbers, booleans or null: the core schema of YAML 1.2 (section 10.3.2)."""

import re
from typing import Any

from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.resolver import VersionedResolver

MAX_DIGITS = 1_000

_RULES = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ("~", "n", "N", "")),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", tuple("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", tuple("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        tuple("-+.0123456789"),
    ),
)
_BY_FIRST_LETTER: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}
for _tag, _pattern, _letters in _RULES:
    for _letter in _letters:
        _BY_FIRST_LETTER.setdefault(_letter, []).append((_tag, re.compile(rf"(?:{_pattern})\Z")))


class CoreResolver(VersionedResolver):
    """`no`, `1_000`, `0b1`, `12:30` and `2024-01-01` are texts, whatever a %YAML directive says."""

    @property
    def versioned_resolver(self) -> Any:
        """First letter -> [(tag, pattern)]."""
        return _BY_FIRST_LETTER


class CoreConstructor(SafeConstructor):
    """Builds dicts, lists and the scalars of the core schema; refuses duplicate keys."""

    def flatten_mapping(self, node: Any) -> Any:
        """Merge keys are no part of YAML 1.2, and a few nested ones would fill the memory."""


def _construct_int(constructor: CoreConstructor, node: Any) -> int:
    word = constructor.construct_scalar(node)
    base = {"0o": 8, "0x": 16}.get(word[:2], 10)
    if base == 10 and len(word) > MAX_DIGITS:  # Python refuses much longer ones too, in words about its own settings
        raise ConstructorError(None, None, f"a number of {len(word)} digits", node.start_mark)
    return int(word[2:] if base != 10 else word, base)


def _construct_float(constructor: CoreConstructor, node: Any) -> float:
    return float(constructor.construct_scalar(node).lower().replace(".inf", "inf").replace(".nan", "nan"))


CoreConstructor.add_constructor("tag:yaml.org,2002:int", _construct_int)
CoreConstructor.add_constructor("tag:yaml.org,2002:float", _construct_float)

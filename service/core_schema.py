"""What the words of a YAML document mean: the core schema of YAML 1.2 (section 10.3.2)."""

import re
from collections.abc import Callable
from typing import Any

from schemas.problems import show

MAX_DIGITS = 1_000

_NULL, _BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float"))
TEXT_TAGS = (None, "!", "tag:yaml.org,2002:str")
LIST_TAGS = (None, "!", "tag:yaml.org,2002:seq")
MAPPING_TAGS = (None, "!", "tag:yaml.org,2002:map")


def _int(word: str) -> int:
    base = {"0o": 8, "0x": 16}.get(word[:2], 10)
    if base == 10 and len(word) > MAX_DIGITS:  # Python refuses much longer ones too, in words about its own settings
        raise ValueError(f"a number of {len(word)} digits")
    return int(word[2:] if base != 10 else word, base)


def _float(word: str) -> float:
    return float(word.lower().replace(".inf", "inf").replace(".nan", "nan"))


_RULES: tuple[tuple[str, str, str, Callable[[str], Any]], ...] = (
    (_NULL, r"~|null|Null|NULL|", "~nN", lambda word: None),
    (_BOOL, r"true|True|TRUE|false|False|FALSE", "tTfF", lambda word: word[0] in "tT"),
    (_INT, r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789", _int),
    (
        _FLOAT,
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
        _float,
    ),
)
_OF_TAG = {tag: (re.compile(pattern), read) for tag, pattern, _, read in _RULES}
_BY_FIRST_LETTER: dict[str, list[tuple[re.Pattern[str], Callable[[str], Any]]]] = {"": [_OF_TAG[_NULL]]}
for _tag, _, _letters, _ in _RULES:
    for _letter in _letters:
        _BY_FIRST_LETTER.setdefault(_letter, []).append(_OF_TAG[_tag])


def plain_value(word: str) -> Any:
    """What a word without quotes and without a tag is: None, a bool, an int, a float, or the text itself.

    `no`, `1_000`, `0b1`, `12:30` and `2024-01-01` are texts, whatever a %YAML directive says.

    Raises:
        ValueError: a number of more than 1,000 digits.
    """
    for pattern, read in _BY_FIRST_LETTER.get(word[:1], ()):
        if pattern.fullmatch(word):
            return read(word)
    return word


def tagged_value(tag: str, word: str) -> Any:
    """What a word with a tag of the core schema is.

    Raises:
        ValueError: another tag, or no such word.
    """
    if tag in TEXT_TAGS:
        return word
    if tag not in _OF_TAG:
        raise ValueError(unknown_tag(tag))
    pattern, read = _OF_TAG[tag]
    if not pattern.fullmatch(word):
        raise ValueError(f"{show(word)}, which is no {tag.rpartition(':')[2]}")
    return read(word)


def unknown_tag(tag: str) -> str:
    """What is said of a tag that does not belong to the schema, or not there."""
    return f"the tag {show(tag)}"

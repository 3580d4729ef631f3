"""Reads one YAML document from its events, and stops at the first one that makes it too large or too deep.

libyaml finds the events: 1.1 by name, but what a word means is decided here, by 1.2. Values are counted with aliases
written out, so a few lines that stand for billions of values cost what a few lines cost.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamStartEvent,
)

from schemas.errors import Problem, SpecError
from schemas.problems import shortened
from service.core_schema import LIST_TAGS, MAPPING_TAGS, plain_value, tagged_value, unknown_tag

MAX_NODES = 200_000
LETTERS_A_VALUE = 64
"""So many letters of a text count as one more value: a long text has an alias as easily as a long list."""
MAX_DEPTH = 50
MAX_DIRECTIVES = 100
"""Each one is compared with all before it."""
CORE = "no tag, or one of the core schema of YAML 1.2"
ONE_DOCUMENT = "one YAML 1.2 document without duplicate keys"
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)
_MISSING = re.compile(r"(?:(?:did|could) not find )?expected (.+?)(?:, but (?:got|found) .*)?$")
_NOT_ALLOWED = re.compile(r"(.+) are not allowed (?:in this context|here)$")
_READER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""PyYAML's wheels have libyaml in them; where it was built without, the same events come much more slowly."""


def read_yaml(text: str) -> Any:
    """The document: dicts, lists, texts, numbers, booleans and None; what has an alias is the same object.

    Raises:
        SpecError: no YAML, several documents, duplicate keys, tags that are not of the core schema, too large, too
            deep.
    """
    num_directives = len(_DIRECTIVE.findall(text))
    if num_directives > MAX_DIRECTIVES:
        got = f"{num_directives:,} lines that begin with %"
        raise SpecError([Problem("file", got, f"at most {MAX_DIRECTIVES}")])
    try:
        return _Reader(yaml.parse(text, Loader=_READER)).document()
    except yaml.MarkedYAMLError as error:
        if "nesting depth" in (error.problem or ""):  # newer readers have a bound of their own
            raise SpecError([too_deep()]) from error
        mark = error.problem_mark or error.context_mark
        raise SpecError([Problem(_place(mark), _without_found(error.problem or str(error)), ONE_DOCUMENT)]) from error
    except yaml.YAMLError as error:
        raise SpecError([Problem("file", _one_line(str(error)), "one YAML 1.2 document")]) from error


def too_deep() -> Problem:
    """Of a document nested too deeply."""
    return Problem("file", "a document nested too deeply", f"at most {MAX_DEPTH} levels")


def too_many() -> Problem:
    """Of a document with too many values."""
    return Problem("file", f"more than {MAX_NODES:,} values once aliases are written out", f"at most {MAX_NODES:,}")


def size_of(value: Any) -> int:
    """How many values something counts as that is neither a list nor a mapping."""
    return 1 + len(value) // LETTERS_A_VALUE if isinstance(value, str) else 1


class _Node(NamedTuple):
    """A value, how many values it holds, itself included, and how many levels it has below it."""

    value: Any
    size: int
    height: int


class _Reader:
    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events
        self._anchors: dict[str, _Node | None] = {}
        self._num_nodes = 0

    def document(self) -> Any:
        node = _Node(None, 1, 0)
        num_documents = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                num_documents += 1
                if num_documents > 1:
                    raise _refused(event, "another document", "one")
                node = self._node(next(self._events), 0)
            elif not isinstance(event, StreamStartEvent | DocumentEndEvent):
                break
        return node.value

    def _node(self, event: Event, depth: int) -> _Node:
        if isinstance(event, AliasEvent):
            node = self._alias(event, depth)
        else:
            self._count(1)
            if event.anchor is not None:
                self._anchors[event.anchor] = None
            node = self._built(event, depth)
            if event.anchor is not None:
                self._anchors[event.anchor] = node
        return node

    def _alias(self, event: AliasEvent, depth: int) -> _Node:
        if event.anchor not in self._anchors:
            raise _refused(event, f"undefined alias {shortened(event.anchor)}", "an anchor that stands before it")
        node = self._anchors[event.anchor]
        if node is None:  # it holds itself, and would never end
            raise SpecError([too_many()])
        if depth + node.height > MAX_DEPTH:
            raise SpecError([too_deep()])
        self._count(node.size)
        return node

    def _built(self, event: Event, depth: int) -> _Node:
        if isinstance(event, ScalarEvent):
            value = _scalar(event)
            return _Node(value, size_of(value), 0)
        if depth > MAX_DEPTH:
            raise SpecError([too_deep()])
        if isinstance(event, SequenceStartEvent):
            return self._list(event, depth)
        return self._mapping(event, depth)

    def _list(self, start: SequenceStartEvent, depth: int) -> _Node:
        _check_tag(start, LIST_TAGS)
        items, size, height = [], 1, 0
        while not isinstance(event := next(self._events), SequenceEndEvent):
            node = self._node(event, depth + 1)
            items.append(node.value)
            size += node.size
            height = max(height, node.height + 1)
        return _Node(items, size, height)

    def _mapping(self, start: MappingStartEvent, depth: int) -> _Node:
        _check_tag(start, MAPPING_TAGS)
        # No merge keys: they are no part of YAML 1.2.
        found: dict[Any, Any] = {}
        size, height = 1, 0
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._node(event, depth + 1).value
            if isinstance(key, dict | list):
                raise _refused(event, "a key that is a list or a mapping", "keys that are text")
            self._count(-1)  # keys are no values
            if key in found:
                raise _refused(event, f"duplicate key {shortened(str(key))}", ONE_DOCUMENT)
            node = self._node(next(self._events), depth + 1)
            found[key] = node.value
            size += node.size
            height = max(height, node.height + 1)
        return _Node(found, size, height)

    def _count(self, num_nodes: int) -> None:
        self._num_nodes += num_nodes
        if self._num_nodes > MAX_NODES:
            raise SpecError([too_many()])


def _scalar(event: ScalarEvent) -> Any:
    try:
        if event.tag is None:
            return plain_value(event.value) if event.implicit[0] else event.value
        return tagged_value(event.tag, event.value)
    except ValueError as error:
        raise _refused(event, str(error), CORE) from error


def _check_tag(event: SequenceStartEvent | MappingStartEvent, allowed: tuple[str | None, ...]) -> None:
    if event.tag not in allowed:
        raise _refused(event, unknown_tag(event.tag), CORE)


def _refused(event: Event, got: str, allowed: str) -> SpecError:
    return SpecError([Problem(_place(event.start_mark), got, allowed)])


def _place(mark: Any) -> str:
    return "file" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"


def _without_found(text: str) -> str:
    """What was found, or was not, so that it reads on after `got`."""
    words = _one_line(text).removeprefix("but ").removeprefix("found ")
    if missing := _MISSING.match(words):
        return f"no {missing[1]} where one is expected"
    misplaced = _NOT_ALLOWED.match(words)
    return f"{misplaced[1]} where none may stand" if misplaced else words


def _one_line(text: str) -> str:
    words = " ".join(text.split())
    return shortened(words) if not words.isprintable() else words[:200]

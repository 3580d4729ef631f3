"""Reads a study document: one YAML 1.2 (or JSON) document, small, without duplicate keys, from a file or a preset."""

import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from schemas.errors import Problem, SpecError
from schemas.limits import Limits
from schemas.presets import preset_names, preset_text
from schemas.problems import did_you_mean, show

MAX_NODES = 200_000
MAX_DEPTH = 50


def read_document(place: str, limits: Limits | None = None) -> Any:
    """The document of a file, or of the preset of that name.

    Raises:
        SpecError: there is none, or it is no document that a study could be.
    """
    path = Path(place)
    if not path.exists() and place in preset_names():
        return parse_document(preset_text(place), limits)
    try:
        size = path.stat().st_size
        if size > (limits or Limits()).spec_bytes:
            raise SpecError([_too_large(size, limits or Limits())])
        data = path.read_bytes()
    except FileNotFoundError:
        names = list(preset_names())
        hint = f"a file, or a preset: {', '.join(names)}{did_you_mean(place, names)}"
        raise SpecError([Problem("file", show(place), hint)]) from None
    except OSError as error:
        raise SpecError([Problem("file", f"{show(place)}: {error.strerror}", "a file that can be read")]) from error
    return parse_document(data, limits)


def parse_document(data: bytes | str, limits: Limits | None = None) -> Any:
    """The document of a text.

    Raises:
        SpecError: no text, no YAML, several documents, duplicate keys, too large or too deep.
    """
    limits = limits or Limits()
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        raise SpecError([Problem("file", f"bytes that are no UTF-8 at offset {error.start}", "UTF-8 text")]) from error
    if len(text) > limits.spec_bytes:
        raise SpecError([_too_large(len(text), limits)])
    try:
        document = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        raise SpecError([_yaml_problem(error)]) from error
    except (YAMLError, ValueError) as error:
        raise SpecError([Problem("file", _one_line(str(error)), "one YAML 1.2 document")]) from error
    except RecursionError as error:
        raise SpecError([Problem("file", "a document nested too deeply", f"at most {MAX_DEPTH} levels")]) from error
    _check_size(document)
    # Aliases become copies: what is the same object twice would be changed twice.
    return json.loads(json.dumps(document, default=str))


def _check_size(document: Any) -> None:
    # Counted with aliases written out, without writing them out: a few lines can stand for billions of nodes.
    counts: dict[int, int] = {}

    def count(node: Any, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise SpecError([Problem("file", "a document nested too deeply", f"at most {MAX_DEPTH} levels")])
        if not isinstance(node, dict | list):
            return 1
        if id(node) not in counts:
            counts[id(node)] = MAX_NODES + 1  # an alias to itself never ends
            children = list(node.values()) if isinstance(node, dict) else node
            _check_keys(node)
            counts[id(node)] = 1 + sum(count(child, depth + 1) for child in children)
        return counts[id(node)]

    total = count(document, 0)
    if total > MAX_NODES:
        raise SpecError([Problem("file", "more than 200,000 values once aliases are written out", f"at most {MAX_NODES}")])


def _check_keys(node: Any) -> None:
    if isinstance(node, dict):
        for key in node:
            if not isinstance(key, str):
                raise SpecError([Problem(show(key), f"a key of type {type(key).__name__}", "keys that are text")])


def _yaml_problem(error: MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "file"
    return Problem(where, _one_line(error.problem or str(error)), "one YAML 1.2 document without duplicate keys")


def _too_large(size: int, limits: Limits) -> Problem:
    return Problem("spec_bytes", str(size), f"at most {limits.spec_bytes}")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]

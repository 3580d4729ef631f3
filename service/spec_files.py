"""Reads a study document: one YAML 1.2 (or JSON) document, small, without duplicate keys, from a file or a preset."""

import os
import select
import stat
from pathlib import Path
from typing import Any, BinaryIO

from schemas.errors import Problem, SpecError
from schemas.limits import Limits
from schemas.presets import preset_names, preset_text
from schemas.problems import did_you_mean, join_field, show
from service.yaml_reader import MAX_DEPTH, MAX_NODES, read_yaml, size_of, too_deep, too_many

MAX_BITS = 1_000
PIPE_WAIT_S = 10.0
"""So long a pipe may be silent; one that nobody has opened for writing would be so for ever."""


def read_document(place: str, limits: Limits | None = None) -> Any:
    """The document of a file, or of the preset of that name.

    Raises:
        SpecError: there is none, or it is no document that a study could be.
    """
    limits = limits or Limits()
    try:
        path = Path(place)
        if not path.exists() and place in preset_names():
            return parse_document(preset_text(place), limits)
        # Opening a pipe that nobody writes to would wait for somebody who does.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            data = _read(file, limits.spec_bytes + 1, is_pipe=stat.S_ISFIFO(status.st_mode))
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    except FileNotFoundError:
        names = list(preset_names())
        hint = f"a file, or a preset: {', '.join(names)}{did_you_mean(place, names)}"
        raise SpecError([Problem("file", show(place), hint)]) from None
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        reason = error.strerror or error if isinstance(error, OSError) else str(error)
        raise SpecError([Problem("file", f"{show(place)}: {reason}", "a file that can be read")]) from error
    if size > len(data):
        raise SpecError([_too_large(size, limits)])
    return parse_document(data, limits)


def _read(file: BinaryIO, most: int, *, is_pipe: bool) -> bytes:
    # Never more than the limit, whatever the size says: a pipe and /dev/zero have none.
    os.set_blocking(file.fileno(), True)
    data = b""
    while len(data) < most:
        if is_pipe and not select.select([file], [], [], PIPE_WAIT_S)[0]:
            raise TimeoutError(f"a pipe that nothing came through for {PIPE_WAIT_S:g} s")
        chunk = file.read(most - len(data))
        if not chunk:
            break
        data += chunk
    return data


def parse_document(data: bytes | str, limits: Limits | None = None) -> Any:
    """The document of a text, made of dicts, lists, text, numbers, booleans and None.

    Raises:
        SpecError: no text, no YAML, several documents, duplicate keys, too large or too deep.
    """
    limits = limits or Limits()
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if len(data) > limits.spec_bytes:
        raise SpecError([_too_large(len(data), limits)])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError([Problem("file", f"bytes that are no UTF-8 at offset {error.start}", "UTF-8 text")]) from error
    return plain_document(read_yaml(text))


def plain_document(document: Any) -> Any:
    """A copy made of dicts, lists, text, numbers, booleans and None, in which nothing is shared.

    Raises:
        SpecError: it holds something else, or is too large or too deep.
    """
    _check_size(document)
    problems: list[Problem] = []
    plain = _plain(document, "", problems)
    if problems:
        raise SpecError(problems)
    return plain


def _check_size(document: Any) -> None:
    # Counted with aliases written out, without writing them out: a few lines can stand for billions of values.
    counts: dict[int, int] = {}

    def count(node: Any, depth: int) -> int:
        if not isinstance(node, dict | list):
            return size_of(node)
        if depth > MAX_DEPTH:
            raise SpecError([too_deep()])
        if id(node) not in counts:
            counts[id(node)] = MAX_NODES + 1  # an alias to itself never ends
            children = list(node.values()) if isinstance(node, dict) else node
            counts[id(node)] = 1 + sum(count(child, depth + 1) for child in children)
        return counts[id(node)]

    if count(document, 0) > MAX_NODES:
        raise SpecError([too_many()])


def _plain(node: Any, where: str, problems: list[Problem]) -> Any:
    """A copy in which nothing is shared: what is the same object twice would be changed twice."""
    if isinstance(node, dict):
        for key in node:
            if not isinstance(key, str):
                field = join_field(where, show(key))
                problems.append(Problem(field, f"a key that is {_kind_of(key)}", "keys that are text"))
        texts = {key: value for key, value in node.items() if isinstance(key, str)}
        return {key: _plain(value, join_field(where, key), problems) for key, value in texts.items()}
    if isinstance(node, list):
        return [_plain(item, join_field(where, index), problems) for index, item in enumerate(node)]
    if isinstance(node, int) and node.bit_length() > MAX_BITS:
        problems.append(Problem(where or "file", show(node), f"integers of at most {MAX_BITS} bits"))
        return 0
    if node is None or isinstance(node, bool | int | float):
        return node
    if isinstance(node, str) and _is_unicode(node):
        return str(node)
    problems.append(Problem(where or "file", show(node), "a mapping, a list, a text, a number, true, false or null"))
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _kind_of(key: Any) -> str:
    return {bool: "true or false", int: "a number", float: "a number", type(None): "null"}.get(
        type(key), "no plain text"
    )


def _too_large(size: int, limits: Limits) -> Problem:
    return Problem("spec_bytes", str(size), f"at most {limits.spec_bytes}")

"""`{sweep: [...]}` at any value of a workload, an optimizer or a schedule: found, checked, put in place."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import rfc8785

from schemas.base import canonical_json
from schemas.errors import Problem
from schemas.problems import join_field, show

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Sweep:
    """One swept value: where it stands inside its entry, and what it takes."""

    path: Path
    values: tuple[Any, ...]

    @property
    def dotted(self) -> str:
        """`warmup.steps`."""
        return ".".join(map(str, self.path))


def find_sweeps(entry: Any) -> tuple[Sweep, ...]:
    """Every sweep of one entry, by path: a document and its resolved form hold their keys in different orders."""
    found = (Sweep(path, tuple(node["sweep"])) for path, node in _walk(entry) if _is_sweep(node))
    return tuple(sorted(found, key=lambda sweep: tuple(map(str, sweep.path))))


def check_sweeps(entry: Any, where: str) -> list[Problem]:
    """Problems with the shape of an entry's sweeps."""
    problems = []
    for path, node in _walk(entry):
        if not _is_sweep(node):
            continue
        field, values = where, node["sweep"]
        for part in path:
            field = join_field(field, part)
        got = f"sweep: {show(values)}"
        if not isinstance(values, list) or not values:
            problems.append(Problem(field, got, "a list of at least one value"))
        elif not path:
            problems.append(Problem(field, got, "a mapping: the items of this list are an axis already"))
        elif any(_contains_sweep(value) for value in values):
            problems.append(Problem(field, "a sweep inside a sweep", "one sweep per value"))
        elif len({_canonical(value) for value in values}) != len(values):
            problems.append(Problem(field, got, "values without duplicates"))
        elif path == ("name",):
            problems.append(Problem(field, "a sweep", "a name: swept values are added to it"))
        elif path[0] == "peak_lrs":
            problems.append(Problem(field, "a sweep", "values or a grid: peak_lrs is an axis already"))
    return problems


def without_sweeps(entry: dict[str, Any]) -> dict[str, Any]:
    """A copy of an entry with null in the place of each sweep: small, whatever the sweeps hold."""
    return {key: _emptied(value) for key, value in entry.items()}


def with_values(emptied: dict[str, Any], sweeps: Sequence[Sweep], indices: Sequence[int]) -> dict[str, Any]:
    """A copy of an emptied entry that has a value in the place of each sweep."""
    variant = copy.deepcopy(emptied)
    for sweep, index in zip(sweeps, indices, strict=True):
        put(variant, sweep.path, sweep.values[index])
    return variant


def put(node: Any, path: Path, value: Any) -> None:
    """Set the value at `path` in place."""
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value


def get(node: Any, path: Path) -> Any:
    """The value at `path`."""
    for part in path:
        node = node[part]
    return node


def _is_sweep(node: Any) -> bool:
    return isinstance(node, dict) and set(node) == {"sweep"}


def _emptied(node: Any) -> Any:
    if _is_sweep(node):
        return None
    if isinstance(node, dict):
        return {key: _emptied(value) for key, value in node.items()}
    return [_emptied(value) for value in node] if isinstance(node, list) else node


def _canonical(value: Any) -> bytes:
    try:
        return canonical_json(value)
    except rfc8785.CanonicalizationError:  # not finite, or too large: the field itself will say so
        return repr(value).encode()


def _walk(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    yield path, node
    if _is_sweep(node):
        return
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _walk(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _walk(value, (*path, index))


def _contains_sweep(node: Any) -> bool:
    return any(_is_sweep(inner) for _, inner in _walk(node))

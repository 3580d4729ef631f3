"""`{sweep: [...]}` at any value of a workload, an optimizer or a schedule: found, counted, expanded, written back."""

import copy
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from schemas.errors import Problem

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


def is_sweep(node: Any) -> bool:
    """Whether a node of the document is `{sweep: ...}`."""
    return isinstance(node, dict) and set(node) == {"sweep"}


def find_sweeps(entry: Any) -> list[Sweep]:
    """Every sweep of one entry, in document order."""
    return [Sweep(path, tuple(node["sweep"])) for path, node in _walk(entry) if is_sweep(node)]


def check_sweeps(entry: Any, where: str) -> list[Problem]:
    """Problems with the shape of an entry's sweeps."""
    problems = []
    for path, node in _walk(entry):
        if not is_sweep(node):
            continue
        field = ".".join([where, *map(str, path)])
        values = node["sweep"]
        if not isinstance(values, list) or not values:
            problems.append(Problem(field, f"sweep: {values!r:.60}", "a list of at least one value"))
        elif any(_contains_sweep(value) for value in values):
            problems.append(Problem(field, "a sweep inside a sweep", "one sweep per value"))
        elif len({repr(value) for value in values}) != len(values):
            problems.append(Problem(field, f"sweep: {values!r:.60}", "values without duplicates"))
        elif path == ("name",):
            problems.append(Problem(field, "a sweep", "a name: swept values are added to it"))
        elif path and path[0] == "peak_lrs":
            problems.append(Problem(field, "a sweep", "values or a grid: peak_lrs is an axis already"))
    return problems


def count_variants(entry: Any) -> int:
    """How many variants an entry expands to, without expanding it."""
    return math.prod(len(sweep.values) for sweep in find_sweeps(entry))


def expand(entry: dict[str, Any]) -> Iterator[tuple[tuple[int, ...], dict[str, Any]]]:
    """Each combination of sweep indices with the entry that has these values in place."""
    sweeps = find_sweeps(entry)
    for indices in itertools.product(*(range(len(sweep.values)) for sweep in sweeps)):
        variant = copy.deepcopy(entry)
        for sweep, index in zip(sweeps, indices, strict=True):
            put(variant, sweep.path, copy.deepcopy(sweep.values[index]))
        yield indices, variant


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


def _walk(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    yield path, node
    if is_sweep(node):
        return
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _walk(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _walk(value, (*path, index))


def _contains_sweep(node: Any) -> bool:
    return any(is_sweep(inner) for _, inner in _walk(node))

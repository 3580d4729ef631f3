"""From axes to trials: the product, zipped where `link` says so; counted without being made."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from schemas.errors import Problem
from schemas.learning_rates import PeakLRs
from schemas.problems import show

if TYPE_CHECKING:
    from schemas.study import Entry, Study, Variant

AXES = ("workloads", "optimizers", "schedules")


@dataclass(frozen=True)
class Combination:
    """One point of the product."""

    workload: "Variant"
    optimizer: "Variant"
    schedule: "Variant"
    peak_lr: float
    seed_index: int
    swept: Mapping[str, Any]


def count_trials(study: "Study") -> int:
    """How many trials the study's axes come to."""
    return sum(
        math.prod(length for _, length in _independent(study, entries, indices))
        for entries, indices in _entry_combinations(study)
    )


def combinations(study: "Study") -> Iterator[Combination]:
    """Every trial's components, in the order of the product."""
    for entries, entry_indices in _entry_combinations(study):
        groups = _independent(study, entries, entry_indices)
        fixed = _fixed(study, entries, entry_indices)
        rates = _points(_rates(study, entries))
        for chosen in itertools.product(*(range(length) for _, length in groups)):
            index = dict(fixed)
            for (names, _), value in zip(groups, chosen, strict=True):
                index |= dict.fromkeys(names, value)
            variants = [_variant(entry, index) for entry in entries]
            swept = {path: value for variant in variants for path, value in variant.swept.items()}
            yield Combination(*variants, rates[index["peak_lrs"]], index["seeds"], swept)


def link_problems(study: "Study") -> list[Problem]:
    """Links that name no axis, name one twice, or zip axes of different lengths."""
    known = {*AXES, "peak_lrs", "seeds"}
    for axis in AXES:
        known |= {_sweep_axis(entry, sweep) for entry in study.axes[axis] for sweep in entry.sweeps}
    problems, seen = [], set()
    for number, group in enumerate(study.fields.link):
        for name in group:
            if name not in known:
                problems.append(Problem(f"link[{number}]", show(name), f"an axis: {', '.join(sorted(known))}"))
            elif name in seen:
                problems.append(Problem(f"link[{number}]", show(name), "each axis in one link at most"))
            seen.add(name)
    if problems:
        return problems
    for number, group in enumerate(study.fields.link):
        lengths = sorted({length for name in group for length in _lengths(study, name)})
        if len(lengths) > 1:
            problems.append(Problem(f"link[{number}]", f"axes of {lengths} values", "axes with equally many values"))
    return problems


def _entry_combinations(study: "Study") -> Iterator[tuple[tuple["Entry", ...], dict[str, int]]]:
    sizes = [range(len(study.axes[axis])) for axis in AXES]
    for chosen in itertools.product(*sizes):
        index = dict(zip(AXES, chosen, strict=True))
        if all(len({index[name] for name in group if name in index}) <= 1 for group in study.fields.link):
            yield tuple(study.axes[axis][index[axis]] for axis in AXES), index


def _independent(
    study: "Study", entries: tuple["Entry", ...], entry_indices: dict[str, int]
) -> list[tuple[tuple[str, ...], int]]:
    """The axes inside one combination of entries, linked ones as one group, with their lengths."""
    fixed = _fixed(study, entries, entry_indices)
    lengths = _value_axes(study, entries)
    groups: list[tuple[tuple[str, ...], int]] = []
    placed: set[str] = set(fixed)
    for name, length in lengths.items():
        if name in placed:
            continue
        together = next((group for group in study.fields.link if name in group), (name,))
        members = tuple(other for other in together if other in lengths)
        placed |= set(members)
        groups.append((members, length))
    return groups


def _fixed(study: "Study", entries: tuple["Entry", ...], entry_indices: dict[str, int]) -> dict[str, int]:
    """Value axes that a link ties to which entry was chosen."""
    fixed: dict[str, int] = {}
    lengths = _value_axes(study, entries)
    for group in study.fields.link:
        tied = [entry_indices[name] for name in group if name in entry_indices]
        if tied:
            fixed |= {name: tied[0] for name in group if name in lengths}
    return fixed


def _value_axes(study: "Study", entries: tuple["Entry", ...]) -> dict[str, int]:
    lengths = {_sweep_axis(entry, sweep): len(sweep.values) for entry in entries for sweep in entry.sweeps}
    return {**lengths, "peak_lrs": _rates(study, entries).count(), "seeds": study.fields.num_seeds()}


def _rates(study: "Study", entries: tuple["Entry", ...]) -> PeakLRs:
    _, optimizer, schedule = entries
    rates = schedule.peak_lrs or optimizer.peak_lrs or study.fields.peak_lrs
    assert rates is not None
    return rates


@lru_cache(maxsize=1024)
def _points(rates: PeakLRs) -> tuple[float, ...]:
    return rates.points()


def _variant(entry: "Entry", index: dict[str, int]) -> "Variant":
    return entry.variants[tuple(index[_sweep_axis(entry, sweep)] for sweep in entry.sweeps)]


def _sweep_axis(entry: "Entry", sweep: Any) -> str:
    return f"{entry.family}.{sweep.dotted}"


def _lengths(study: "Study", name: str) -> set[int]:
    if name in AXES:
        return {len(study.axes[name])}
    if name == "seeds":
        return {study.fields.num_seeds()}
    if name == "peak_lrs":
        every = [study.fields.peak_lrs, *(entry.peak_lrs for axis in AXES[1:] for entry in study.axes[axis])]
        return {rates.count() for rates in every if rates is not None}
    return {
        len(sweep.values)
        for axis in AXES
        for entry in study.axes[axis]
        for sweep in entry.sweeps
        if _sweep_axis(entry, sweep) == name
    }

"""From axes to trials: the product, zipped where `link` says so; counted without being made."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from schemas.entries import FAMILIES, Entry, Variant
from schemas.errors import Problem
from schemas.learning_rates import PeakLRs, RelativeTo
from schemas.problems import show

if TYPE_CHECKING:
    from schemas.study import StudyFields

AXES = tuple(FAMILIES)
Axes = Mapping[str, tuple[Entry, ...]]
_MAX_SHAPES = 200_000


@dataclass(frozen=True)
class Combination:
    """One point of the product."""

    workload: Variant
    optimizer: Variant
    schedule: Variant
    peak_lr: float
    relative_to: RelativeTo | None
    seed_index: int
    swept: Mapping[str, Any]


def count_trials(fields: "StudyFields", axes: Axes) -> int:
    """How many trials the axes come to, from entries that need not be expanded yet.

    Exact, but where more than 200,000 combinations of entries differ in their sweeps: there the number of combinations,
    which each trial is one of at least. Cost: the number of combinations that differ, never that of trials.
    """
    shapes = [
        Counter(zip(*([_shape(entry) for entry in axes[axis]] for axis in together), strict=True))
        for together in _tied_axes(fields)
    ]
    if math.prod(len(counter) for counter in shapes) > _MAX_SHAPES:
        return math.prod(counter.total() for counter in shapes)
    order = [axis for together in _tied_axes(fields) for axis in together]
    total = 0
    for chosen in itertools.product(*(counter.items() for counter in shapes)):
        shape = dict(zip(order, (one for shape, _ in chosen for one in shape), strict=True))
        groups = _free_groups(fields, _lengths(fields, [shape[axis] for axis in AXES]))
        total += math.prod(number for _, number in chosen) * math.prod(length for _, length in groups)
    return total


def count_trials_of_workloads(fields: "StudyFields", axes: Axes) -> list[int] | None:
    """How many trials each workload entry has, as `count_trials` counts them; None where a link names the workloads or
    one of their sweeps. Of one entry, every variant then has equally many.
    """
    if any(name == "workloads" or name.startswith("workload.") for group in fields.link for name in group):
        return None
    counted: dict[Shape, int] = {}
    for entry in axes["workloads"]:
        shape = _shape(entry)
        if shape not in counted:
            counted[shape] = count_trials(fields, {**axes, "workloads": (entry,)})
    return [counted[_shape(entry)] for entry in axes["workloads"]]


def combinations(fields: "StudyFields", axes: Axes) -> Iterator[Combination]:
    """Every trial's components, in the order of the product: entries, then sweeps, rates and seeds."""
    for entries, entry_index in _entry_combinations(fields, axes):
        lengths = _lengths(fields, [_shape(entry) for entry in entries])
        groups = _free_groups(fields, lengths)
        tied = _tied_values(fields, lengths, entry_index)
        rates = _rates(fields, entries)
        points = _points(rates)
        for chosen in itertools.product(*(range(length) for _, length in groups)):
            index = dict(tied)
            for (names, _), value in zip(groups, chosen, strict=True):
                for name in names:
                    index[name] = value
            variants = [_variant(entry, index) for entry in entries]
            swept = {path: value for variant in variants for path, value in variant.swept.items()}
            workload, optimizer, schedule = variants
            peak_lr = points[index["peak_lrs"]]
            yield Combination(workload, optimizer, schedule, peak_lr, rates.relative_to, index["seeds"], swept)


def met_triples(fields: "StudyFields", axes: Axes) -> set[tuple[int, int, int]] | None:
    """Identities of the workloads, optimizers and schedules that meet in a trial; None: all of them meet."""
    if not fields.link:
        return None
    return {
        (id(one.workload.spec), id(one.optimizer.spec), id(one.schedule.spec)) for one in combinations(fields, axes)
    }


def link_problems(fields: "StudyFields", axes: Axes) -> list[Problem]:
    """Links that name no axis, name one twice, or zip axes of different lengths."""
    known = _known_lengths(fields, axes)
    problems, seen = [], set()
    for number, group in enumerate(fields.link):
        here = []
        for name in group:
            if name not in known:
                here.append(Problem(f"link[{number}]", show(name), f"an axis: {', '.join(sorted(known))}"))
            elif name in seen:
                here.append(Problem(f"link[{number}]", show(name), "each axis in one link at most"))
            seen.add(name)
        lengths = sorted({length for name in group if name in known for length in known[name]})
        if not here and len(lengths) > 1:
            here.append(Problem(f"link[{number}]", f"axes of {lengths} values", "axes with equally many values"))
        problems += here
    return problems


Shape = tuple[tuple[tuple[str, int], ...], int | None]
"""What the number of trials depends on: the lengths of an entry's sweeps, and how many rates of its own it has."""


def _shape(entry: Entry) -> Shape:
    sweeps = tuple((entry.sweep_axis(sweep), len(sweep.values)) for sweep in entry.sweeps)
    return sweeps, entry.peak_lrs.count() if entry.peak_lrs is not None else None


def _lengths(fields: "StudyFields", shapes: Sequence[Shape]) -> dict[str, int]:
    """Every axis inside one combination of entries, with its length."""
    lengths = {name: length for sweeps, _ in shapes for name, length in sweeps}
    (_, _), (_, of_optimizer), (_, of_schedule) = shapes
    of_study = fields.peak_lrs.count() if fields.peak_lrs is not None else 1
    return {**lengths, "peak_lrs": of_schedule or of_optimizer or of_study, "seeds": fields.num_seeds()}


def _free_groups(fields: "StudyFields", lengths: Mapping[str, int]) -> list[tuple[tuple[str, ...], int]]:
    """The axes that vary inside one combination of entries, linked ones as one group, with their lengths."""
    groups: list[tuple[tuple[str, ...], int]] = []
    placed: set[str] = set()
    for name, length in lengths.items():
        if name in placed:
            continue
        together = next((group for group in fields.link if name in group), (name,))
        members = tuple(other for other in together if other in lengths)
        placed |= set(members)
        if not any(other in AXES for other in together):
            groups.append((members, length))
    return groups


def _tied_values(fields: "StudyFields", lengths: Mapping[str, int], entry_index: Mapping[str, int]) -> dict[str, int]:
    """Axes that a link ties to which entry was chosen."""
    tied: dict[str, int] = {}
    for group in fields.link:
        chosen = [entry_index[name] for name in group if name in AXES]
        if chosen:
            tied |= {name: chosen[0] for name in group if name in lengths}
    return tied


def _tied_axes(fields: "StudyFields") -> list[tuple[str, ...]]:
    """The three axes, those that a link zips together as one."""
    groups: list[tuple[str, ...]] = []
    for axis in AXES:
        if not any(axis in group for group in groups):
            link = next((link for link in fields.link if axis in link), (axis,))
            groups.append(tuple(other for other in AXES if other in link))
    return groups


def _entry_combinations(fields: "StudyFields", axes: Axes) -> Iterator[tuple[tuple[Entry, ...], dict[str, int]]]:
    tied = _tied_axes(fields)
    for chosen in itertools.product(*(range(len(axes[together[0]])) for together in tied)):
        index = {axis: number for together, number in zip(tied, chosen, strict=True) for axis in together}
        yield tuple(axes[axis][index[axis]] for axis in AXES), index


def _rates(fields: "StudyFields", entries: tuple[Entry, ...]) -> PeakLRs:
    _, optimizer, schedule = entries
    rates = schedule.peak_lrs or optimizer.peak_lrs or fields.peak_lrs
    assert rates is not None
    return rates


@lru_cache(maxsize=1024)
def _points(rates: PeakLRs) -> tuple[float, ...]:
    return rates.points()


def _variant(entry: Entry, index: Mapping[str, int]) -> Variant:
    return entry.variants[tuple(index[entry.sweep_axis(sweep)] for sweep in entry.sweeps)]


def _known_lengths(fields: "StudyFields", axes: Axes) -> dict[str, set[int]]:
    known: dict[str, set[int]] = {axis: {len(axes[axis])} for axis in AXES}
    known["seeds"] = {fields.num_seeds()}
    every = [fields.peak_lrs, *(entry.peak_lrs for axis in AXES[1:] for entry in axes[axis])]
    known["peak_lrs"] = {rates.count() for rates in every if rates is not None}
    for axis in AXES:
        for entry in axes[axis]:
            for sweep in entry.sweeps:
                known.setdefault(entry.sweep_axis(sweep), set()).add(len(sweep.values))
    return known

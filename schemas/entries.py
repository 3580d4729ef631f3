"""One item of an axis: outlined without being expanded, then validated with a value in the place of each sweep."""

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from schemas.base import without_defaults
from schemas.errors import Problem
from schemas.learning_rates import PeakLRs
from schemas.not_yet import beside, kind_problem, learning_rate_problem, value_problems
from schemas.optimizers import Optimizer
from schemas.plugins import PluginOptimizer, kind_name
from schemas.problems import problems_of, show
from schemas.salvage import refused_places, without_places
from schemas.schedule_checks import schedule_problems
from schemas.schedules import Schedule
from schemas.starts import start_problems
from schemas.sweeps import Sweep, check_sweeps, find_sweeps, get, put, with_values, without_sweeps
from schemas.tasks import budget_problems, task_problems
from schemas.workloads import Analytic, Workload

FAMILIES: dict[str, tuple[str, Any]] = {
    "workloads": ("workload", Workload),
    "optimizers": ("optimizer", Optimizer),
    "schedules": ("schedule", Schedule),
}
"""Axis -> (what one of its items is called in a column's name, its type)."""

_ADAPTERS = {axis: TypeAdapter[Any](union) for axis, (_, union) in FAMILIES.items()}
_KIND_FIELDS: dict[str, tuple[tuple[str, str], ...]] = {
    "workload": (
        ("task", "task"), ("model", "model.kind"), ("dataset", "dataset.kind"), ("loss", "loss.kind"),
        ("function", "function.kind"),
    ),
    "optimizer": (("optimizer", "kind"),),
    "schedule": (("warmup", "warmup.kind"), ("optimum", "warmup.optimum.kind"), ("decay", "decay.kind")),
}  # fmt: skip
"""Family -> (what has kinds, where its kind stands)."""
_SMALL = 1_000
"""An entry of so few variants is validated whole even where the study's size is in doubt."""


@dataclass(frozen=True)
class Variant:
    """A workload, an optimizer or a schedule with one value in the place of each of its sweeps."""

    name: str
    spec: Any
    swept: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One item of an axis: its sweeps and the variants they make, by sweep indices."""

    where: str
    """`optimizers[0]`."""
    axis: str
    emptied: dict[str, Any]
    """As it was stated, null in the place of each sweep."""
    sweeps: tuple[Sweep, ...]
    peak_lrs: PeakLRs | None
    """The entry's own peak learning rates (they are never swept)."""
    name: str = ""
    variants: Mapping[tuple[int, ...], Variant] = field(default_factory=dict)
    """Empty until it is expanded."""
    is_refused: bool = False
    """Its variants are then what is left of it without the refused fields: to check other entries against, no more."""

    @property
    def family(self) -> str:
        """`optimizer`."""
        return FAMILIES[self.axis][0]

    def sweep_axis(self, sweep: Sweep) -> str:
        """What a sweep is called in `link` and in a column's name: `optimizer.weight_decay`."""
        return f"{self.family}.{sweep.dotted}"


def outline(axis: str, raw: Any, problems: list[Problem]) -> tuple[Entry, ...]:
    """The items of an axis that can be read at all, not yet expanded; `problems` gets what is wrong with the rest."""
    if not isinstance(raw, list) or not raw:
        got = "nothing" if raw is None else show(raw)
        problems.append(Problem(axis, got, "a list of at least one item"))
        return ()
    entries = []
    for index, item in enumerate(raw):
        where = f"{axis}[{index}]"
        found = check_sweeps(item, where) if isinstance(item, dict) else [Problem(where, show(item), "a mapping")]
        problems += found
        if not found:
            entries.append(Entry(where, axis, without_sweeps(item), find_sweeps(item), _peak_lrs(item)))
    return tuple(entries)


def expanded(entry: Entry, links: Sequence[Collection[str]], problems: list[Problem], *, whole: bool) -> Entry | None:
    """The entry with its variants; None where there are too many, what is left of it where one is refused.

    Args:
        links: axes that are zipped: of linked sweeps only equal indices go together.
        whole: whether the number of variants is known to be within the limits.
    """
    if not whole and sum(len(sweep.values) for sweep in entry.sweeps) > _SMALL:
        return None  # the study is refused for its size
    found: dict[Problem, None] = {}
    left: dict[tuple[int, ...], Variant] = {}
    for indices in _one_at_a_time(entry):
        spec, refused = _component(entry, indices)
        found |= dict.fromkeys(refused)
        if spec is not None:
            left[indices] = Variant(default_name(spec), spec)
    problems += found
    if found:
        return replace(entry, variants=left, is_refused=True)
    if not (whole or _is_small(entry)):
        return None
    variants: dict[tuple[int, ...], Variant] = {}
    names: set[str] = set()
    entry_name = ""
    for indices in _products(entry, links):
        spec, refused = _component(entry, indices)
        if refused:
            problems += refused
            return None
        swept = {entry.sweep_axis(sweep): _said(spec, sweep.path) for sweep in entry.sweeps}
        entry_name = entry_name or default_name(spec)
        name = _variant_name(entry_name, swept)
        # two values may read alike once shortened: the indices tell them apart
        name = f"{name} ({'-'.join(map(str, indices))})" if name in names else name
        names.add(name)
        variants[indices] = Variant(name, spec, swept)
    return replace(entry, name=entry_name, variants=variants)


def num_to_check(entry: Entry) -> int:
    """How many variants `expanded` validates of an entry where the study's size is in doubt."""
    values = [len(sweep.values) for sweep in entry.sweeps]
    return math.prod(values) if _is_small(entry) else sum(values)


def default_name(spec: Any) -> str:
    """The name a component was given, else its kind."""
    if isinstance(spec, PluginOptimizer):
        return spec.label or spec.name
    if spec.name is not None:
        return str(spec.name)
    if isinstance(spec, Schedule):
        return spec.decay.kind if spec.decay.HAS_WARMUP else kind_name(spec.warmup)
    if isinstance(spec, Analytic):
        return spec.function.kind
    return f"{kind_name(spec.dataset)}-{kind_name(spec.model)}" if hasattr(spec, "dataset") else str(spec.kind)


def resolved_entry(entry: Entry) -> dict[str, Any]:
    """The entry as a document with every default written out, its sweeps in place."""
    dumps = {indices: variant.spec.model_dump(mode="json") for indices, variant in entry.variants.items()}
    said = _common(list(dumps.values()))
    document: dict[str, Any] = {key: said[key] for key in said if not _came_later(key, said[key])}
    is_named_part = any(isinstance(variant.spec, PluginOptimizer) for variant in entry.variants.values())
    document["label" if is_named_part else "name"] = entry.name
    for position, sweep in enumerate(entry.sweeps):
        # What stands at one sweep's path does not depend on another sweep's value, so any variant with it will do.
        values = {indices[position]: get(dump, sweep.path) for indices, dump in dumps.items()}
        put(document, sweep.path, {"sweep": [values[index] for index in range(len(sweep.values))]})
    return document


def _came_later(key: str, value: Any) -> bool:
    """Whether a field is at its default that the first specs did not have: without it, studies keep their spec hash."""
    return (key, value) in (("nesterov", False), ("noise", None))


def _common(dumps: list[Any]) -> Any:
    """What all variants say alike. Where `kind` is swept, what only some kinds have is left out."""
    first = dumps[0]
    if all(isinstance(dump, dict) for dump in dumps):
        shared = {key: _common([dump[key] for dump in dumps]) for key in first if all(key in dump for dump in dumps)}
        return {key: value for key, value in shared.items() if value is not _DIFFERENT}
    if all(isinstance(dump, list) and len(dump) == len(first) for dump in dumps):
        return [_common(list(items)) for items in zip(*dumps, strict=True)]
    return first if all(dump == first for dump in dumps) else _DIFFERENT


_DIFFERENT = object()


def _peak_lrs(raw: dict[str, Any]) -> PeakLRs | None:
    try:
        return PeakLRs.model_validate(raw.get("peak_lrs"))
    except ValidationError:
        return None  # none, or one that validation will refuse


def _one_at_a_time(entry: Entry) -> Iterator[tuple[int, ...]]:
    """Every value of every sweep once, the others at their first: a sum of lengths, not a product."""
    first = (0,) * len(entry.sweeps)
    yield first
    for position, sweep in enumerate(entry.sweeps):
        for index in range(1, len(sweep.values)):
            yield (*first[:position], index, *first[position + 1 :])


def _products(entry: Entry, links: Sequence[Collection[str]]) -> Iterator[tuple[int, ...]]:
    leaders: list[int] = []
    names = [entry.sweep_axis(sweep) for sweep in entry.sweeps]
    for position, name in enumerate(names):
        together = next((group for group in links if name in group), (name,))
        leaders.append(next(other for other in range(position + 1) if names[other] in together))
    free = sorted(set(leaders))
    for chosen in itertools.product(*(range(len(entry.sweeps[position].values)) for position in free)):
        index = dict(zip(free, chosen, strict=True))
        yield tuple(index[leader] for leader in leaders)


def _is_small(entry: Entry) -> bool:
    return math.prod(len(sweep.values) for sweep in entry.sweeps) <= _SMALL


def _component(entry: Entry, indices: tuple[int, ...]) -> tuple[Any, list[Problem]]:
    raw = with_values(entry.emptied, entry.sweeps, indices)
    early = [
        kind_problem(name, f"{entry.where}.{place}", _dig(raw, place)) for name, place in _KIND_FIELDS[entry.family]
    ]
    early.append(learning_rate_problem(raw.get("peak_lrs"), f"{entry.where}.peak_lrs"))
    early += task_problems(raw, entry.where) if entry.family == "workload" else []
    not_built = [problem for problem in early if problem]
    try:
        spec = _ADAPTERS[entry.axis].validate_python(raw)
    except ValidationError as error:
        refused = beside(not_built, problems_of(error, raw, entry.where, FAMILIES[entry.axis][1]))
        return _salvaged(entry.axis, raw, error), refused
    not_built += value_problems(entry.family, spec, entry.where)
    if isinstance(spec, Analytic):
        not_built += start_problems(spec, entry.where)
    if isinstance(spec, Schedule):
        not_built += schedule_problems(spec, entry.where)
    not_built += budget_problems(spec, entry.where) if entry.family == "workload" else []
    return spec, not_built


def _salvaged(axis: str, raw: Any, error: ValidationError) -> Any:
    places = refused_places(error, raw)
    if () in places:
        return None
    try:
        return _ADAPTERS[axis].validate_python(without_places(raw, places))
    except ValidationError:
        return None


def _dig(raw: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        raw = raw.get(part) if isinstance(raw, dict) else None
    return raw


def _said(spec: Any, path: tuple[str | int, ...]) -> Any:
    """What stands at a path beyond defaults, as it was validated: the same for a document and its resolved form."""
    for part in path:
        spec = spec[part] if isinstance(part, int) or isinstance(spec, dict) else getattr(spec, part)
    if isinstance(spec, BaseModel):
        return without_defaults(spec)
    return list(spec) if isinstance(spec, tuple) else spec


def _variant_name(name: str, swept: Mapping[str, Any]) -> str:
    return " ".join([name, *(f"{path.partition('.')[2]}={_short(value)}" for path, value in swept.items())])


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "-".join(
            _short(item) for _, item in sorted(value.items(), key=lambda said: (said[0] != "kind", said[0]))
        )
    if isinstance(value, list):
        return "x".join(_short(item) for item in value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)

"""A study as its user states it: the document, validated whole, resolved in full, expanded into trials."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from schemas.analysis import Analysis
from schemas.base import Name, NonNegativeFloat, NonNegativeInt, PositiveInt, Spec, content_hash, without_defaults
from schemas.catalog import DatasetFacts, dataset_facts
from schemas.errors import Problem, SpecError
from schemas.expansion import combinations, count_trials, link_problems
from schemas.learning_rates import PeakLRs
from schemas.limits import Limits
from schemas.not_yet import analysis_problems, kind_problem, learning_rate_problem, value_problems
from schemas.optimizers import Optimizer
from schemas.probes import Probe
from schemas.problems import did_you_mean, problems_of, show
from schemas.schedules import Schedule
from schemas.sweeps import Sweep, check_sweeps, count_variants, expand, find_sweeps, get, put
from schemas.trials import Seed, TrialSpec, total_steps
from schemas.workloads import Analytic, Workload


class SeedCount(Spec):
    """Seeds 0 ... count - 1."""

    count: PositiveInt


class Execution(Spec):
    """Where the study runs. One study, one device class."""

    device: Literal["auto", "cpu", "cuda"] = "auto"


class StudyFields(Spec):
    """Everything of a study but its workloads, optimizers and schedules."""

    schema_version: Literal[1]
    name: Name
    description: Annotated[str, Field(max_length=10_000)] = ""
    peak_lrs: PeakLRs | None = None
    seeds: SeedCount | Annotated[tuple[NonNegativeInt | Seed, ...], Field(min_length=1, strict=False)] = SeedCount(
        count=1
    )
    link: Annotated[tuple[Annotated[tuple[str, ...], Field(min_length=2, strict=False)], ...], Field(strict=False)] = ()
    probes: Annotated[tuple[Probe, ...], Field(strict=False)] = ()
    probe_budget: NonNegativeFloat = 0.30
    analysis: Analysis = Analysis()
    execution: Execution = Execution()

    def seed_list(self) -> tuple[Seed, ...]:
        """The seeds, in order."""
        if isinstance(self.seeds, SeedCount):
            return tuple(_seed(index) for index in range(self.seeds.count))
        return tuple(_seed(item) if isinstance(item, int) else item for item in self.seeds)

    def num_seeds(self) -> int:
        """How many, without making them."""
        return self.seeds.count if isinstance(self.seeds, SeedCount) else len(self.seeds)


@dataclass(frozen=True)
class Variant:
    """A workload, an optimizer or a schedule with one value in the place of each of its sweeps."""

    name: str
    spec: Any
    swept: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One item of an axis: its sweeps and the variants they make, by sweep indices."""

    name: str
    family: str
    sweeps: tuple[Sweep, ...]
    variants: Mapping[tuple[int, ...], Variant]

    @property
    def peak_lrs(self) -> PeakLRs | None:
        """The entry's own peak learning rates (they are never swept)."""
        return getattr(next(iter(self.variants.values())).spec, "peak_lrs", None)


FAMILIES: dict[str, tuple[str, TypeAdapter[Any]]] = {
    "workloads": ("workload", TypeAdapter(Workload)),
    "optimizers": ("optimizer", TypeAdapter(Optimizer)),
    "schedules": ("schedule", TypeAdapter(Schedule)),
}
"""Axis -> (what one of its items is called in a column's name, its type)."""


@dataclass(frozen=True)
class Study:
    """A validated study. `resolved` is the document with every default written out."""

    fields: StudyFields
    axes: Mapping[str, tuple[Entry, ...]]
    resolved: Mapping[str, Any]

    @cached_property
    def spec_hash(self) -> str:
        """SHA-256 (64 hex) of the resolved document."""
        return content_hash(self.resolved)

    @property
    def name(self) -> str:
        """The study's name."""
        return self.fields.name

    def num_trials(self) -> int:
        """How many trials, without expanding them."""
        return count_trials(self)

    def variants(self, axis: str) -> Iterator[Variant]:
        """Every variant of every item of an axis, in order."""
        for entry in self.axes[axis]:
            yield from entry.variants.values()

    def trials(self, datasets: Mapping[str, DatasetFacts]) -> Iterator[TrialSpec]:
        """Every trial of round 0, in the order of the product: workloads, optimizers, schedules, sweeps, rates, seeds.

        Args:
            datasets: kind of each data set -> its facts (the catalog's).

        Raises:
            DataMissing: a data set of the study has no facts.
        """
        seeds = self.fields.seed_list()
        schedules: dict[tuple[int, int], Schedule] = {}
        for combination in combinations(self):
            # Components are shared by identity: a study has a million trials and a few hundred components.
            key = (id(combination.workload), id(combination.schedule))
            facts = dataset_facts(combination.workload.spec, datasets)
            if key not in schedules:
                schedules[key] = combination.schedule.spec.resolve(total_steps(combination.workload.spec, facts))
            yield TrialSpec(
                workload=combination.workload.spec,
                optimizer=combination.optimizer.spec,
                schedule=schedules[key],
                peak_lr=combination.peak_lr,
                seed=seeds[combination.seed_index],
                dataset_sha256=facts.sha256 if facts else None,
                swept=combination.swept,
                names=(combination.workload.name, combination.optimizer.name, combination.schedule.name),
            )

    def measurement_id(self, workload: Any) -> str:
        """SHA-256 of what is measured on a workload's trials: probes, their budget, evaluation."""
        evaluation = None if isinstance(workload, Analytic) else without_defaults(workload.evaluation)
        probes = [without_defaults(probe) for probe in self.fields.probes]
        budget = self.fields.probe_budget if probes else None
        return content_hash({"evaluation": evaluation, "probes": probes, "probe_budget": budget})


def probe_name(probe: Any) -> str:
    """A probe's name: given, or its kind."""
    return str(probe.name or probe.kind)


def parse_study(raw: Any, limits: Limits | None = None) -> Study:
    """Validate a document and fill in what it leaves out.

    Raises:
        SpecError: everything that is wrong with it, at once.
    """
    limits = limits or Limits()
    if not isinstance(raw, dict):
        raise SpecError([Problem("study", show(raw), "a mapping")])
    problems: list[Problem] = []
    fields_raw = {key: value for key, value in raw.items() if key not in FAMILIES}
    fields = _fields(fields_raw, problems)
    _too_many(raw, limits, problems)
    if any(problem.field in ("trials",) for problem in problems):
        raise SpecError(problems)
    axes = {axis: _axis(axis, raw.get(axis), problems) for axis in FAMILIES}
    if problems or fields is None:
        raise SpecError(problems)
    study = Study(fields, axes, _resolved(raw, fields, axes))
    problems += _cross_problems(study)
    if not problems:
        problems += limits.check(
            trials=study.num_trials(),
            probes=len(fields.probes),
            steps_per_trial=max((v.spec.budget.steps or 0) for v in study.variants("workloads")),
        )
    if problems:
        raise SpecError(problems)
    return study


def _fields(raw: dict[str, Any], problems: list[Problem]) -> StudyFields | None:
    early = [learning_rate_problem(raw.get("peak_lrs"), "peak_lrs")]
    probes = raw.get("probes")
    for index, probe in enumerate(probes if isinstance(probes, list) else []):
        if isinstance(probe, dict):
            early.append(kind_problem("probe", f"probes[{index}].kind", probe.get("kind")))
    found = [problem for problem in early if problem]
    try:
        fields = StudyFields.model_validate(raw)
    except ValidationError as error:
        said = {problem.field for problem in found}
        known = [*StudyFields.model_fields, *FAMILIES]
        for problem in problems_of(error, raw, ""):
            if problem.field in raw and problem.allowed == "no field of this name":
                problem = Problem(problem.field, problem.got, problem.allowed + did_you_mean(problem.field, known))
            if problem.field not in said and not any(problem.field.startswith(prefix) for prefix in said):
                found.append(problem)
        problems += found
        return None
    problems += found + analysis_problems(fields.analysis)
    problems += _duplicates("probes", [probe_name(probe) for probe in fields.probes])
    problems += _duplicates("seeds", [seed.label for seed in fields.seed_list()]) if fields.num_seeds() < 100_000 else []
    return fields


def _too_many(raw: dict[str, Any], limits: Limits, problems: list[Problem]) -> None:
    # Before any sweep is expanded: a few nested sweeps can stand for more trials than there are atoms.
    total = 1
    for axis in FAMILIES:
        entries = raw.get(axis)
        if isinstance(entries, list) and entries:
            total *= sum(count_variants(entry) for entry in entries if isinstance(entry, dict)) or 1
    if total > limits.trials and not raw.get("link"):
        problems += limits.check(trials=total)


def _axis(axis: str, raw: Any, problems: list[Problem]) -> tuple[Entry, ...]:
    if not isinstance(raw, list) or not raw:
        got = "nothing" if raw is None else show(raw)
        problems.append(Problem(axis, got, "a list of at least one item"))
        return ()
    entries = [_entry(axis, index, item, problems) for index, item in enumerate(raw)]
    good = tuple(entry for entry in entries if entry is not None)
    problems += _duplicates(axis, [entry.name for entry in good])
    return good


def _entry(axis: str, index: int, raw: Any, problems: list[Problem]) -> Entry | None:
    where, (family, adapter) = f"{axis}[{index}]", FAMILIES[axis]
    if not isinstance(raw, dict):
        problems.append(Problem(where, show(raw), "a mapping"))
        return None
    found = check_sweeps(raw, where)
    if not found:
        sweeps = tuple(find_sweeps(raw))
        variants: dict[tuple[int, ...], Variant] = {}
        for indices, variant in expand(raw):
            spec = _component(family, adapter, variant, where, found)
            if spec is None:
                break
            swept = {
                f"{family}.{sweep.dotted}": sweep.values[i] for sweep, i in zip(sweeps, indices, strict=True)
            }
            variants[indices] = Variant(_variant_name(default_name(spec), sweeps, indices), spec, swept)
    problems += found
    if found:
        return None
    return Entry(default_name(next(iter(variants.values())).spec), family, sweeps, variants)


def _component(family: str, adapter: TypeAdapter[Any], raw: Any, where: str, found: list[Problem]) -> Any | None:
    early = [
        kind_problem(name, f"{where}.{dotted}", _dig(raw, dotted)) for name, dotted in _KIND_FIELDS[family]
    ] + [learning_rate_problem(raw.get("peak_lrs"), f"{where}.peak_lrs")]
    not_built = [problem for problem in early if problem]
    if not_built:
        found += not_built
        return None
    try:
        spec = adapter.validate_python(raw)
    except ValidationError as error:
        found += problems_of(error, raw, where)
        return None
    reserved = value_problems(family, spec, where)
    found += reserved
    return None if reserved else spec


_KIND_FIELDS: dict[str, tuple[tuple[str, str], ...]] = {
    "workload": (
        ("task", "task"), ("model", "model.kind"), ("dataset", "dataset.kind"), ("loss", "loss.kind"),
        ("function", "function.kind"),
    ),
    "optimizer": (("optimizer", "kind"),),
    "schedule": (("warmup", "warmup.kind"), ("decay", "decay.kind")),
}  # fmt: skip


def default_name(spec: Any) -> str:
    """The name a component was given, else its kind."""
    if spec.name is not None:
        return str(spec.name)
    if isinstance(spec, Schedule):
        return spec.warmup.kind
    if isinstance(spec, Analytic):
        return spec.function.kind
    return f"{spec.dataset.kind}-{spec.model.kind}" if hasattr(spec, "dataset") else str(spec.kind)


def _variant_name(name: str, sweeps: tuple[Sweep, ...], indices: tuple[int, ...]) -> str:
    said = [f"{sweep.dotted}={_short(sweep.values[i])}" for sweep, i in zip(sweeps, indices, strict=True)]
    return " ".join([name, *said])


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "-".join(_short(item) for item in value.values())
    if isinstance(value, list):
        return "x".join(_short(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _resolved(raw: dict[str, Any], fields: StudyFields, axes: Mapping[str, tuple[Entry, ...]]) -> dict[str, Any]:
    document = fields.model_dump(mode="json")
    for index, probe in enumerate(fields.probes):
        document["probes"][index]["name"] = probe_name(probe)
    for axis, entries in axes.items():
        document[axis] = [_resolved_entry(entry) for entry in entries]
    return document


def _resolved_entry(entry: Entry) -> dict[str, Any]:
    dumps = {indices: variant.spec.model_dump(mode="json") for indices, variant in entry.variants.items()}
    first: dict[str, Any] = next(iter(dumps.values()))
    document: dict[str, Any] = {**first, "name": entry.name}
    for position, sweep in enumerate(entry.sweeps):
        # The other sweeps at their first value: paths of one sweep do not depend on another's value.
        values = [
            get(dump, sweep.path)
            for indices, dump in dumps.items()
            if all(i == 0 for other, i in enumerate(indices) if other != position)
        ]
        put(document, sweep.path, {"sweep": values})
    return document


def _cross_problems(study: Study) -> list[Problem]:
    problems = link_problems(study)
    problems += _baseline_problems(study)
    problems += _rate_problems(study)
    problems += _warmup_problems(study)
    return problems


def _baseline_problems(study: Study) -> list[Problem]:
    baseline = study.fields.analysis.baseline
    names = [variant.name for variant in study.variants("schedules")]
    if baseline is None or baseline in names:
        return []
    return [Problem("analysis.baseline", show(baseline), f"the name of a schedule: {', '.join(names[:20])}")]


def _rate_problems(study: Study) -> list[Problem]:
    if study.fields.peak_lrs is not None or all(entry.peak_lrs is not None for entry in study.axes["schedules"]):
        return []
    return [
        Problem(f"optimizers[{index}].peak_lrs", "nothing", "peak_lrs here, on every schedule or on the study")
        for index, entry in enumerate(study.axes["optimizers"])
        if entry.peak_lrs is None
    ]


def _warmup_problems(study: Study) -> list[Problem]:
    problems = []
    budgets = [(v.name, v.spec.budget.steps) for v in study.variants("workloads") if v.spec.budget.steps is not None]
    for index, entry in enumerate(study.axes["schedules"]):
        for variant in entry.variants.values():
            for workload, total_steps in budgets:
                warmup_steps = variant.spec.warmup_steps(total_steps)
                if warmup_steps is not None and warmup_steps > total_steps:
                    where = f"schedules[{index}].warmup.steps"
                    problems.append(
                        Problem(where, str(warmup_steps), f"at most {total_steps}, the steps of workload {workload}")
                    )
    return problems


def _duplicates(where: str, names: list[str]) -> list[Problem]:
    seen: set[str] = set()
    problems = []
    for index, name in enumerate(names):
        if name in seen:
            problems.append(Problem(f"{where}[{index}].name", show(name), "a name of its own: it is taken"))
        seen.add(name)
    return problems


def _dig(raw: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        raw = raw.get(part) if isinstance(raw, dict) else None
    return raw


def _seed(index: int) -> Seed:
    return Seed(initialization=index, data_order=index, noise=index)

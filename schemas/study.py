"""A study as its user states it: the document, validated whole, resolved in full, expanded into trials."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from schemas.analysis import Analysis
from schemas.base import Name, NonNegativeFloat, NonNegativeInt, PositiveInt, Spec, content_hash, without_defaults
from schemas.catalog import DatasetFacts, dataset_facts
from schemas.cross_checks import baseline_problems, duplicates, rate_problems, warmup_problems
from schemas.entries import FAMILIES, Entry, Variant, expanded, outline, resolved_entry
from schemas.errors import Problem, SpecError
from schemas.expansion import combinations, count_trials, link_problems, met_pairs
from schemas.learning_rates import PeakLRs
from schemas.limits import Limits
from schemas.not_yet import analysis_problems, beside, kind_problem, learning_rate_problem
from schemas.probes import Probe
from schemas.problems import problems_of, show
from schemas.schedules import Schedule
from schemas.trials import Seed, TrialSpec, steps_known, total_steps
from schemas.workloads import Analytic


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
    description: Annotated[str, Field(max_length=10_000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")] = ""
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
        return count_trials(self.fields, self.axes)

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
        for combination in combinations(self.fields, self.axes):
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
        """SHA-256 of what is measured on a workload's trials: probes, their budget, evaluation.

        Every probe by name, given or not, because the name draws its batches; in whatever order they were stated.
        """
        evaluation = None if isinstance(workload, Analytic) else without_defaults(workload.evaluation)
        named = {probe_name(probe): without_defaults(probe) for probe in self.fields.probes}
        probes = [{**said, "name": name} for name, said in sorted(named.items())]
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
        raise SpecError([Problem("study", "nothing" if raw is None else show(raw), "a mapping")])
    problems: list[Problem] = []
    fields = _fields({key: value for key, value in raw.items() if key not in FAMILIES}, problems)
    outlines = {axis: outline(axis, raw.get(axis), problems) for axis in FAMILIES}
    size = _size_problems(fields, outlines, limits) if fields is not None else []
    problems += size
    within = fields is not None and not size
    links = fields.link if fields is not None and within else ()
    # Trials are counted where every axis has items; where one has none, nothing bounds what the others expand to.
    whole = within and all(outlines.values())
    axes = {axis: _expanded(entries, links, problems, whole=whole) for axis, entries in outlines.items()}
    if fields is not None and within:
        intact = {axis for axis in FAMILIES if isinstance(raw.get(axis), list) and len(axes[axis]) == len(raw[axis])}
        problems += _cross_problems(fields, axes, intact)
    if problems or fields is None:
        raise SpecError(problems)
    study = Study(fields, axes, _resolved(fields, axes))
    problems += _budget_problems(study, limits)
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
        problems += beside(found, problems_of(error, raw, "", StudyFields, extra=tuple(FAMILIES)))
        return None
    problems += found + analysis_problems(fields.analysis)
    problems += duplicates([(f"probes[{i}].name", probe_name(probe)) for i, probe in enumerate(fields.probes)])
    if not isinstance(fields.seeds, SeedCount):
        problems += duplicates([(f"seeds[{index}]", seed.label) for index, seed in enumerate(fields.seed_list())])
    return fields


def _size_problems(fields: StudyFields, outlines: Mapping[str, tuple[Entry, ...]], limits: Limits) -> list[Problem]:
    """Before any sweep is expanded: a few of them can stand for more trials than there are atoms."""
    problems = link_problems(fields, outlines)
    if not problems and all(outlines.values()):
        problems = limits.check(trials=count_trials(fields, outlines))
    return problems + limits.check(probes=len(fields.probes))


def _expanded(
    outlines: tuple[Entry, ...], links: tuple[tuple[str, ...], ...], problems: list[Problem], *, whole: bool
) -> tuple[Entry, ...]:
    entries = [expanded(entry, links, problems, whole=whole) for entry in outlines]
    return tuple(entry for entry in entries if entry is not None)


def _cross_problems(fields: StudyFields, axes: Mapping[str, tuple[Entry, ...]], intact: set[str]) -> list[Problem]:
    """What the parts say against each other; of an axis that is not intact, nothing is said to be missing."""
    problems = []
    for entries in axes.values():
        named = [(f"{entry.where}.name", variant.name) for entry in entries for variant in entry.variants.values()]
        problems += duplicates(named)
    if "schedules" in intact:
        problems += baseline_problems(fields.analysis.baseline, axes["schedules"])
        problems += rate_problems(fields.peak_lrs, axes)
    if not fields.link:
        problems += warmup_problems(axes, steps_known)
    elif not problems and len(intact) == len(FAMILIES) and not link_problems(fields, axes):
        problems += warmup_problems(axes, steps_known, met_pairs(fields, axes))
    return problems


def _budget_problems(study: Study, limits: Limits) -> list[Problem]:
    problems = []
    for entry in study.axes["workloads"]:
        longest = max(steps_known(variant.spec) or 0 for variant in entry.variants.values())
        problems += limits.check(steps_per_trial=longest)
    return list(dict.fromkeys(problems))


def _resolved(fields: StudyFields, axes: Mapping[str, tuple[Entry, ...]]) -> dict[str, Any]:
    document = fields.model_dump(mode="json")
    for index, probe in enumerate(fields.probes):
        document["probes"][index]["name"] = probe_name(probe)
    for axis, entries in axes.items():
        document[axis] = [resolved_entry(entry) for entry in entries]
    return document


def _seed(index: int) -> Seed:
    return Seed(initialization=index, data_order=index, noise=index)

"""A study as its user states it: the document, validated whole, resolved in full, expanded into trials."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from schemas.analysis import Analysis
from schemas.base import (
    PROSE_PATTERN,
    Name,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Spec,
    content_hash,
    without_defaults,
)
from schemas.catalog import DatasetFacts, dataset_facts
from schemas.cross_checks import arm_problems, baseline_problems, duplicates, rate_problems, warmup_problems
from schemas.derived import DerivedFrom
from schemas.entries import FAMILIES, Entry, Variant, expanded, num_to_check, outline, resolved_entry
from schemas.errors import Problem, SpecError
from schemas.expansion import combinations, count_trials, count_trials_of_workloads, link_problems, met_triples
from schemas.learning_rates import PeakLRs, RelativeTo
from schemas.limits import Limits
from schemas.not_yet import analysis_problems, beside, comparison_problem, kind_problem, learning_rate_problem
from schemas.optimizer_checks import optimizer_problems
from schemas.optimum_checks import optimum_problems
from schemas.plugins import PluginOptimizer, PluginSource, own_parts, sources_of
from schemas.probe_checks import probe_problems
from schemas.probes import Probe
from schemas.problems import problems_of, show
from schemas.relative_checks import relative_problems
from schemas.salvage import refused_places, without_places
from schemas.schedules import Schedule
from schemas.second_moment import beta2_of
from schemas.study_budget import StudyBudget
from schemas.trials import Seed, TrialSpec, steps_known, total_steps
from schemas.workloads import Analytic

MEASUREMENT_REVISION = 2
"""Raised when the same probes and budget come to other points: it is part of the measurement id of whatever probes."""

MAX_CHECKED = 2_000
"""Variants of an axis that are validated at most where the study's size is in doubt, those without sweeps aside."""


class SeedCount(Spec):
    """Seeds 0 ... count - 1."""

    count: PositiveInt


class Execution(Spec):
    """Where the study runs. One study, one device class."""

    device: Literal["auto", "cpu", "cuda"] = "auto"


def _whole(value: Any) -> Any:
    # A literal compares by ==, by which true and 1.0 are 1 as well.
    if type(value) is not int:
        raise ValueError("1")
    return value


class StudyFields(Spec):
    """Everything of a study but its workloads, optimizers and schedules."""

    schema_version: Annotated[Literal[1], BeforeValidator(_whole)]
    name: Name
    description: Annotated[str, Field(max_length=10_000, pattern=PROSE_PATTERN)] = ""
    peak_lrs: PeakLRs | None = None
    seeds: SeedCount | Annotated[tuple[NonNegativeInt | Seed, ...], Field(min_length=1, strict=False)] = SeedCount(
        count=1
    )
    link: Annotated[tuple[Annotated[tuple[str, ...], Field(min_length=2, strict=False)], ...], Field(strict=False)] = ()
    probes: Annotated[tuple[Probe, ...], Field(strict=False)] = ()
    probe_budget: NonNegativeFloat = 0.30
    analysis: Analysis = Analysis()
    execution: Execution = Execution()
    budget: StudyBudget | None = None
    plugins: Annotated[tuple[PluginSource, ...], Field(strict=False)] = ()
    """The code of the study's own parts: filled in when it is accepted. Stated, no other code is accepted."""
    derived_from: DerivedFrom | None = None
    """The pilot whose smoothness law this study tests, and what was foretold."""

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

    @cached_property
    def multiples(self) -> frozenset[tuple[str, str]]:
        """(optimizer, schedule) whose peak learning rates are multiples of 1/sharpness at the start."""
        return frozenset(
            (mine.name, its.name)
            for optimizer, schedule in product(self.axes["optimizers"], self.axes["schedules"])
            if (rates := schedule.peak_lrs or optimizer.peak_lrs or self.fields.peak_lrs) and rates.relative_to
            for mine, its in product(optimizer.variants.values(), schedule.variants.values())
        )

    def num_trials(self) -> int:
        """How many trials, without expanding them."""
        return count_trials(self.fields, self.axes)

    def num_steps(self, datasets: Mapping[str, DatasetFacts]) -> int:
        """How many updates its trials make in full, without expanding them; where a link names the workloads or one of
        their sweeps, so many at least.

        Args:
            datasets: kind of each data set -> its facts (the catalog's).

        Raises:
            DataMissing: a data set of the study has no facts.
        """
        steps = [
            [total_steps(variant.spec, dataset_facts(variant.spec, datasets)) for variant in entry.variants.values()]
            for entry in self.axes["workloads"]
        ]
        counts = count_trials_of_workloads(self.fields, self.axes)
        if counts is None:
            return self.num_trials() * min(min(of_entry) for of_entry in steps)
        return sum(number * sum(each) // len(each) for number, each in zip(counts, steps, strict=True))

    def has_own_parts(self) -> bool:
        """Whether it names a part of its user's own."""
        return any(True for axis in self.axes for variant in self.variants(axis) for _ in own_parts(variant.spec))

    def pinned(self, sources: Sequence[PluginSource]) -> "Study":
        """The same study with the code of its own parts stated, as far as it was not."""
        known = {source.key: source for source in (*sources, *self.fields.plugins)}
        components = [variant.spec for axis in self.axes for variant in self.variants(axis)]
        plugins = sources_of(list(known.values()), *components)
        resolved = {**self.resolved, "plugins": [source.model_dump(mode="json") for source in plugins]}
        return replace(self, fields=self.fields.model_copy(update={"plugins": plugins}), resolved=resolved)

    def variants(self, axis: str) -> Iterator[Variant]:
        """Every variant of every item of an axis, in order."""
        for entry in self.axes[axis]:
            yield from entry.variants.values()

    def trials(self, datasets: Mapping[str, DatasetFacts]) -> Iterator[TrialSpec]:
        """Every trial of round 0, in the order of the product: workloads, optimizers, schedules, sweeps, rates, seeds.

        Args:
            datasets: kind of each data set -> its facts (the catalog's).

        Raises:
            DataMissing: a data set of the study has no facts. SpecError: the code of a part of its own is not stated.
        """
        seeds = self.fields.seed_list()
        first = seeds[0].initialization
        schedules: dict[tuple[int, int, float | None], Schedule] = {}
        sources: dict[tuple[int, int, int], tuple[PluginSource, ...]] = {}
        for combination in combinations(self.fields, self.axes):
            # Components are shared by identity: a study has a million trials and a few hundred components.
            said = combination.schedule.spec
            beta2 = beta2_of(combination.optimizer.spec) if said.needs_beta2 else None
            key = (id(combination.workload), id(combination.schedule), beta2)
            facts = dataset_facts(combination.workload.spec, datasets)
            if key not in schedules:
                schedules[key] = said.resolve(total_steps(combination.workload.spec, facts), beta2)
            parts = (combination.workload.spec, combination.optimizer.spec, combination.schedule.spec)
            which = (id(parts[0]), id(parts[1]), id(parts[2]))
            if which not in sources:
                sources[which] = sources_of(self.fields.plugins, *parts)
            yield TrialSpec(
                workload=combination.workload.spec,
                optimizer=combination.optimizer.spec,
                schedule=schedules[key],
                peak_lr=combination.peak_lr,
                seed=seeds[combination.seed_index],
                dataset_sha256=facts.sha256 if facts else None,
                plugins=sources[which],
                relative_to=combination.relative_to,
                first_initialization=first if _is_of_study(combination.relative_to) else None,
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
        said = {"evaluation": evaluation, "probes": probes, "probe_budget": budget}
        return content_hash(said | ({"measurement_revision": MEASUREMENT_REVISION} if probes else {}))


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
    fields, unsure = _fields({key: value for key, value in raw.items() if key not in FAMILIES}, problems)
    outlines = {axis: outline(axis, raw.get(axis), problems) for axis in FAMILIES}
    # What is zipped with what is not known where a link is refused, or the length of something that may be linked.
    is_counted = "link" not in unsure and not (fields.link and unsure & {"seeds", "peak_lrs"})
    size = _size_problems(fields, outlines, limits) if is_counted else []
    problems += size
    within = is_counted and not size
    # Trials are counted where every axis has items; where one has none, nothing bounds what the others expand to.
    whole = within and all(outlines.values())
    links = fields.link if within else ()
    found = {axis: _expanded(entries, links, problems, whole=whole) for axis, entries in outlines.items()}
    axes = {axis: tuple(entry for entry in entries if not entry.is_refused) for axis, entries in found.items()}
    if within or (is_counted and not fields.link):
        intact = {axis for axis in FAMILIES if isinstance(raw.get(axis), list) and len(axes[axis]) == len(raw[axis])}
        problems += _cross_problems(fields, axes, found, intact, unsure)
    problems += _budget_problems(found["workloads"], limits)
    if problems:
        raise SpecError(problems)
    return Study(fields, axes, _resolved(fields, axes))


def _fields(raw: dict[str, Any], problems: list[Problem]) -> tuple[StudyFields, set[str]]:
    """The fields that are well, plain defaults for the refused ones, and the names of those."""
    early = [learning_rate_problem(raw.get("peak_lrs"), "peak_lrs"), comparison_problem(raw.get("analysis"))]
    probes = raw.get("probes")
    for index, probe in enumerate(probes if isinstance(probes, list) else []):
        if isinstance(probe, dict):
            early.append(kind_problem("probe", f"probes[{index}].kind", probe.get("kind")))
    found = [problem for problem in early if problem]
    unsure: set[str] = set()
    try:
        fields = StudyFields.model_validate(raw)
    except ValidationError as error:
        found = beside(found, problems_of(error, raw, "", StudyFields, extra=tuple(FAMILIES)))
        fields, unsure = _salvaged(raw, error)
    problems += found + analysis_problems(fields.analysis)
    problems += duplicates([(f"probes[{i}].name", probe_name(probe)) for i, probe in enumerate(fields.probes)])
    if not isinstance(fields.seeds, SeedCount):
        problems += duplicates([(f"seeds[{index}]", seed.label) for index, seed in enumerate(fields.seed_list())])
    return fields, unsure


def _salvaged(raw: dict[str, Any], error: ValidationError) -> tuple[StudyFields, set[str]]:
    # A bad metric says nothing against the baseline beside it; of every other field, what is inside belongs together.
    places = {place[: 2 if place[:1] == ("analysis",) else 1] for place in refused_places(error, raw)}
    kept = without_places(raw, places)
    try:
        fields = StudyFields.model_validate({"schema_version": 1, "name": "study", **kept})
    except ValidationError:
        fields = StudyFields(schema_version=1, name="study")
        return fields, set(StudyFields.model_fields)
    return fields, {str(place[0]) for place in places if place}


def _size_problems(fields: StudyFields, outlines: Mapping[str, tuple[Entry, ...]], limits: Limits) -> list[Problem]:
    """Before any sweep is expanded: a few of them can stand for more trials than there are atoms."""
    problems = link_problems(fields, outlines)
    if not problems and all(outlines.values()):
        problems = limits.check(trials=count_trials(fields, outlines))
    return problems + limits.check(probes=len(fields.probes))


def _expanded(
    outlines: tuple[Entry, ...], links: tuple[tuple[str, ...], ...], problems: list[Problem], *, whole: bool
) -> tuple[Entry, ...]:
    entries, num_checked = [], 0
    for entry in outlines:
        num_checked += num_to_check(entry) if entry.sweeps else 0
        # Where the size is in doubt, many small sweeps may not cost together what one large sweep may not.
        if whole or num_checked <= MAX_CHECKED or not entry.sweeps:
            entries.append(expanded(entry, links, problems, whole=whole))
    return tuple(entry for entry in entries if entry is not None)


def _cross_problems(
    fields: StudyFields,
    axes: Mapping[str, tuple[Entry, ...]],
    found: Mapping[str, tuple[Entry, ...]],
    intact: set[str],
    unsure: set[str],
) -> list[Problem]:
    """What the parts say against each other; of an axis that is not intact, nothing is said to be missing.

    Args:
        found: `axes`, and what is well of the entries that are refused.
        unsure: fields that are refused, so that a default stands in their place.
    """
    problems = []
    for entries in axes.values():
        # An entry's own name counts beside those of its variants: a baseline may name either.
        names = [{entry.name: None} | {one.name: None for one in entry.variants.values()} for entry in entries]
        problems += duplicates(
            [(_name_field(entry), name) for entry, own in zip(entries, names, strict=True) for name in own]
        )
    if "schedules" in intact:
        problems += baseline_problems(fields.analysis.baseline, axes["schedules"]) + arm_problems(
            fields.derived_from, axes["schedules"]
        )
        problems += rate_problems(fields.peak_lrs, axes) if "peak_lrs" not in unsure else []
    problems += probe_problems(fields.probes, found)
    of_study = fields.peak_lrs if "peak_lrs" not in unsure else None
    if not fields.link:
        problems += warmup_problems(found, steps_known) + optimizer_problems(found)
        problems += relative_problems(of_study, found) + optimum_problems(fields.analysis, found)
    elif not problems and len(intact) == len(FAMILIES) and not link_problems(fields, axes):
        triples = met_triples(fields, axes)
        problems += warmup_problems(axes, steps_known, triples)
        problems += optimizer_problems(axes, {triple[:2] for triple in triples or ()})
        problems += relative_problems(of_study, axes, triples) + optimum_problems(fields.analysis, axes, triples)
    return problems


def _name_field(entry: Entry) -> str:
    """Where an entry's own name stands: an optimizer of the user's own has the part's name in the place of that."""
    is_own = any(isinstance(variant.spec, PluginOptimizer) for variant in entry.variants.values())
    return f"{entry.where}.{'label' if is_own else 'name'}"


def _budget_problems(workloads: tuple[Entry, ...], limits: Limits) -> list[Problem]:
    problems = []
    for entry in workloads:
        longest = max((steps_known(variant.spec) or 0 for variant in entry.variants.values()), default=0)
        problems += limits.check(steps_per_trial=longest)
    return list(dict.fromkeys(problems))


def _resolved(fields: StudyFields, axes: Mapping[str, tuple[Entry, ...]]) -> dict[str, Any]:
    document = fields.model_dump(mode="json")
    if fields.budget is None:  # a field that came later: a study without it keeps its spec hash
        del document["budget"]
    if not fields.plugins:  # a study without parts of its own keeps the hash that it had before there were any
        del document["plugins"]
    if fields.derived_from is None:
        del document["derived_from"]
    if fields.analysis.optimum is None:  # likewise
        del document["analysis"]["optimum"]
    for index, probe in enumerate(fields.probes):
        said = document["probes"][index]
        said["name"] = probe_name(probe)
        if said.get("points") == "endpoint":  # a field that came later, too
            del said["points"]
    for axis, entries in axes.items():
        document[axis] = [resolved_entry(entry) for entry in entries]
    return document


def _is_of_study(relative_to: RelativeTo | None) -> bool:
    return relative_to is not None and relative_to.scope == "study"


def _seed(index: int) -> Seed:
    return Seed(initialization=index, data_order=index, noise=index)

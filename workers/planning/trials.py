"""A study's trials, once its data is known: distinct, and inside the limits that need the data's shape."""

from collections import Counter
from collections.abc import Mapping

from schemas.catalog import DatasetFacts, dataset_facts, num_examples_there, num_train_examples, num_windows
from schemas.cross_checks import warmup_problems
from schemas.errors import Problem, SpecError
from schemas.expansion import met_triples
from schemas.images import image_shape
from schemas.limits import Limits
from schemas.own_parts import NO_PARTS, OwnParts
from schemas.plugins import PluginDataset
from schemas.study import Study
from schemas.trials import TrialSpec, batch_size_of, steps_known, total_steps
from schemas.workloads import GPT, LanguageModel, ResNet, ViT, Workload
from workers.planning.facts import num_parameters
from workers.planning.measurement import most_points
from workers.planning.rows import BYTES_PER_ROW, most_rows


def expand_trials(
    study: Study, datasets: Mapping[str, DatasetFacts], limits: Limits | None = None, *, own: OwnParts = NO_PARTS
) -> list[TrialSpec]:
    """Every trial of round 0, in order.

    Args:
        own: what was found out about the user's own parts, which the limits need.

    Raises:
        SpecError: two trials are the same, a warmup is longer than its run, or a limit is exceeded.
        DataMissing: a data set has no catalog row.
    """
    limits = limits or Limits()
    problems = _image_problems(study, datasets)  # a net that cannot read its examples has no size
    problems = problems or _limit_problems(study, datasets, limits, own) + _batch_problems(study, datasets)
    if not problems:
        trials = list(study.trials(datasets))
        problems = _same_trials(trials) + _warmup_problems(study, datasets)
        problems += _record_problems(study, datasets, trials, limits)
    if problems:
        raise SpecError(problems)
    return trials


def _same_trials(trials: list[TrialSpec]) -> list[Problem]:
    first: dict[str, TrialSpec] = {}
    problems: dict[Problem, None] = {}
    for trial in trials:
        same = first.setdefault(trial.trial_id, trial)
        if same is not trial:
            problems[_same_trial(same, trial)] = None
    return list(problems)


def _same_trial(one: TrialSpec, other: TrialSpec) -> Problem:
    axis, mine, its = "peak_lrs", str(one.peak_lr), str(other.peak_lr)
    for where, name, twin in zip(("workloads", "optimizers", "schedules"), one.names, other.names, strict=True):
        if name != twin:
            axis, mine, its = where, name, twin
            break
    return Problem(axis, f"{mine} and {its}, which make the same trial", "trials that differ in their numbers")


def _limit_problems(study: Study, datasets: Mapping[str, DatasetFacts], limits: Limits, own: OwnParts) -> list[Problem]:
    problems: dict[str, Problem] = {}
    for variant in study.variants("workloads"):
        facts = dataset_facts(variant.spec, datasets)
        steps = total_steps(variant.spec, facts)
        for problem in limits.check(
            steps_per_trial=steps,
            parameters_per_model=num_parameters(variant.spec, facts, own),
            probe_points_per_trial=sum(most_points(probe, steps) for probe in study.fields.probes),
        ):
            problems.setdefault(problem.field, problem)
    return list(problems.values())


def _batch_problems(study: Study, datasets: Mapping[str, DatasetFacts]) -> list[Problem]:
    """Batches of more examples than the training set has."""
    problems: dict[Problem, None] = {}
    for entry in study.axes["workloads"]:
        for workload in (variant.spec for variant in entry.variants.values()):
            facts = dataset_facts(workload, datasets)
            if facts is None:
                continue
            if isinstance(workload, LanguageModel) and (problem := _context_problem(workload, facts, entry.where)):
                problems[problem] = None
                continue
            subset, num_train = getattr(workload.dataset, "subset", None), num_train_examples(workload, facts)
            num_there = num_examples_there(workload, facts)
            allowed = f"at most {num_there}, the training examples of {facts.kind}"
            if (subset or 0) > num_there:
                problems[Problem(f"{entry.where}.dataset.subset", str(subset), allowed)] = None
            elif subset:
                allowed = f"at most {subset}, the subset of {facts.kind} that is trained on"
            size = batch_size_of(workload, num_train)
            if size > num_train:
                problems[Problem(f"{entry.where}.batch_size", str(size), allowed)] = None
            for index, probe in enumerate(study.fields.probes):
                if (probe.batch.size or 0) > num_train:
                    problems[Problem(f"probes[{index}].batch.size", str(probe.batch.size), allowed)] = None
    return list(problems)


def _context_problem(workload: LanguageModel, facts: DatasetFacts, where: str) -> Problem | None:
    """Windows longer than the shortest part of the text, or others than those that a set of one's own is made of."""
    place = f"{where}.model.context" if isinstance(workload.model, GPT) else f"{where}.model.options.context"
    if isinstance(workload.dataset, PluginDataset):
        if facts.input_shape == (workload.context,):
            return None
        return Problem(place, str(workload.context), _own_windows(facts))
    shortest = min(facts.num_train, facts.num_validation, facts.num_test)
    if num_windows(shortest, workload.context) > 0:
        return None
    allowed = f"at most {shortest - 1}, the characters that {facts.kind} is validated on less one"
    return Problem(place, str(workload.context), allowed)


def _own_windows(facts: DatasetFacts) -> str:
    if len(facts.input_shape) == 1:
        return f"{facts.input_shape[0]}, the tokens in a window of {facts.kind}"
    return f"a data set of windows, x [n, context]: an example of {facts.kind} has shape {list(facts.input_shape)}"


def _image_problems(study: Study, datasets: Mapping[str, DatasetFacts]) -> list[Problem]:
    """Nets for images beside a set of something else, and patches that do not tile its images."""
    problems: dict[Problem, None] = {}
    for entry in study.axes["workloads"]:
        for workload in (variant.spec for variant in entry.variants.values()):
            facts = dataset_facts(workload, datasets)
            if facts is None or not isinstance(workload.model, ResNet | ViT):
                continue
            try:
                _, height, width = image_shape(facts.input_shape)
            except ValueError as error:
                problems[Problem(f"{entry.where}.dataset.kind", facts.kind, str(error))] = None
                continue
            if isinstance(workload.model, ViT) and (height % workload.model.patch or width % workload.model.patch):
                allowed = f"a divisor of {height} and {width}, the sides of {facts.kind}"
                problems[Problem(f"{entry.where}.model.patch", str(workload.model.patch), allowed)] = None
    return list(problems)


def _warmup_problems(study: Study, datasets: Mapping[str, DatasetFacts]) -> list[Problem]:
    """For budgets in epochs or examples: where the budget is in steps, the spec alone was enough to tell."""

    def steps_of(workload: Workload) -> int | None:
        known = steps_known(workload)
        return total_steps(workload, dataset_facts(workload, datasets)) if known is None else None

    if all(steps_known(variant.spec) is not None for variant in study.variants("workloads")):
        return []
    return warmup_problems(study.axes, steps_of, met_triples(study.fields, study.axes))


def _record_problems(
    study: Study, datasets: Mapping[str, DatasetFacts], trials: list[TrialSpec], limits: Limits
) -> list[Problem]:
    total = 0
    of_workload = Counter(id(trial.workload) for trial in trials)
    for workload in {id(trial.workload): trial.workload for trial in trials}.values():
        rows = most_rows(workload, study.fields.probes, total_steps(workload, dataset_facts(workload, datasets)))
        total += of_workload[id(workload)] * sum(count * BYTES_PER_ROW[table] for table, count in rows.items())
    return limits.check(record_bytes=total)

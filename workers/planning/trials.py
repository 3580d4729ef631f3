"""A study's trials, once its data is known: distinct, and inside the limits that need the data's shape."""

from collections.abc import Mapping

from schemas.catalog import DatasetFacts, dataset_facts
from schemas.errors import Problem, SpecError
from schemas.limits import Limits
from schemas.study import Study
from schemas.trials import TrialSpec, total_steps
from workers.planning.facts import num_parameters


def expand_trials(study: Study, datasets: Mapping[str, DatasetFacts], limits: Limits | None = None) -> list[TrialSpec]:
    """Every trial of round 0, in order.

    Raises:
        SpecError: two trials are the same, a warmup is longer than its run, or a limit is exceeded.
        DataMissing: a data set has no catalog row.
    """
    problems = _limit_problems(study, datasets, limits or Limits()) + _warmup_problems(study, datasets)
    if problems:
        raise SpecError(problems)
    first: dict[str, TrialSpec] = {}
    for trial in study.trials(datasets):
        same = first.setdefault(trial.trial_id, trial)
        if same is not trial:
            raise SpecError([_same_trial(same, trial)])
    return list(first.values())


def _same_trial(one: TrialSpec, other: TrialSpec) -> Problem:
    axis, pair = next(
        ((axis, pair) for axis, *pair in zip(("workloads", "optimizers", "schedules"), one.names, other.names, strict=True)
         if pair[0] != pair[1]),
        ("peak_lrs", [str(one.peak_lr), str(other.peak_lr)]),
    )  # fmt: skip
    return Problem(axis, f"{pair[0]} and {pair[1]}, which make the same trial", "trials that differ in their numbers")


def _limit_problems(study: Study, datasets: Mapping[str, DatasetFacts], limits: Limits) -> list[Problem]:
    problems: dict[str, Problem] = {}
    for variant in study.variants("workloads"):
        facts = dataset_facts(variant.spec, datasets)
        for problem in limits.check(
            steps_per_trial=total_steps(variant.spec, facts),
            parameters_per_model=num_parameters(variant.spec, facts),
        ):
            problems.setdefault(problem.field, problem)
    return list(problems.values())


def _warmup_problems(study: Study, datasets: Mapping[str, DatasetFacts]) -> list[Problem]:
    problems = []
    for workload in study.variants("workloads"):
        steps = total_steps(workload.spec, dataset_facts(workload.spec, datasets))
        for index, entry in enumerate(study.axes["schedules"]):
            for variant in entry.variants.values():
                warmup_steps = variant.spec.warmup_steps(steps)
                if warmup_steps is not None and warmup_steps > steps:
                    allowed = f"at most {steps}, the steps of workload {workload.name}"
                    problems.append(Problem(f"schedules[{index}].warmup.steps", str(warmup_steps), allowed))
    return problems

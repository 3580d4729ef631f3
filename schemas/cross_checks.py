"""What the parts of a study say against each other: names, baseline, rates, schedules in their runs."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from schemas.derived import DerivedFrom
from schemas.entries import Entry, Variant
from schemas.errors import Problem
from schemas.learning_rates import PeakLRs
from schemas.optimizers import Optimizer
from schemas.problems import did_you_mean, show
from schemas.schedule_checks import beta2_problems, run_problems, search_problems
from schemas.schedules import Schedule
from schemas.second_moment import beta2_of
from schemas.workloads import Workload

Axes = Mapping[str, tuple[Entry, ...]]


def duplicates(names: Iterable[tuple[str, str]]) -> list[Problem]:
    """Names, each with its field, that were taken before."""
    taken: set[str] = set()
    problems = []
    for where, name in names:
        if name in taken:
            problems.append(Problem(where, show(name), "a value of its own: it is taken"))
        taken.add(name)
    return problems


def baseline_problems(baseline: str | None, schedules: tuple[Entry, ...]) -> list[Problem]:
    """A baseline that names no schedule."""
    names = [variant.name for entry in schedules for variant in entry.variants.values()]
    # An entry that is swept may be named as a whole: the best of its variants is then the baseline.
    if baseline is None or baseline in names or baseline in [entry.name for entry in schedules]:
        return []
    allowed = f"the name of a schedule: {', '.join(names[:20])}{did_you_mean(baseline, names)}"
    return [Problem("analysis.baseline", show(baseline), allowed)]


def arm_problems(derived: DerivedFrom | None, schedules: tuple[Entry, ...]) -> list[Problem]:
    """Arms of a derived study that are no schedules of it."""
    if derived is None:
        return []
    names = [entry.name for entry in schedules]
    allowed = f"the name of a schedule: {', '.join(names[:20])}"
    said = derived.arms.model_dump().items()
    return [Problem(f"derived_from.arms.{arm}", show(name), allowed) for arm, name in said if name not in names]


def rate_problems(of_study: PeakLRs | None, axes: Axes) -> list[Problem]:
    """Optimizers whose trials would have no peak learning rate."""
    if of_study is not None or all(entry.peak_lrs is not None for entry in axes["schedules"]):
        return []
    return [
        Problem(f"{entry.where}.peak_lrs", "nothing", "peak_lrs here, on every schedule or on the study")
        for entry in axes["optimizers"]
        if entry.peak_lrs is None
    ]


def warmup_problems(
    axes: Axes, steps_of: Callable[[Workload], int | None], met: Collection[tuple[int, int, int]] | None = None
) -> list[Problem]:
    """Schedules that do not fit in a run they belong to, or ask for what an optimizer beside them does not have.

    Args:
        steps_of: a workload -> its budget in updates; None where it is not known here.
        met: identities of (workload, optimizer, schedule) that meet in a trial; None: all of them do.
    """
    problems: dict[Problem, None] = {}
    workloads = [variant for entry in axes["workloads"] for variant in entry.variants.values()]
    optimizers = [variant.spec for entry in axes["optimizers"] for variant in entry.variants.values()]
    met_runs = _runs_by_schedule(workloads, optimizers, steps_of, met)
    for entry in axes["schedules"]:
        for schedule in (variant.spec for variant in entry.variants.values()):
            for together, runs in met_runs(schedule):
                refused, suited = _suited(schedule, together, entry.where)
                problems |= refused
                if suited is not None:
                    problems |= dict.fromkeys(_unfit(suited, runs, entry.where))
    return list(problems)


Runs = Mapping[int, list[str]]
"""Steps, ascending -> the names of the workloads that have so many."""


def _runs_by_schedule(
    workloads: list[Variant],
    optimizers: list[Optimizer],
    steps_of: Callable[[Workload], int | None],
    met: Collection[tuple[int, int, int]] | None,
) -> Callable[[Schedule], Iterable[tuple[list[Optimizer], Runs]]]:
    """Schedule -> the optimizers and the runs that meet it and each other."""
    if met is None:
        every = [(optimizers, _by_steps(workloads, steps_of))]
        return lambda _schedule: every
    workload_of = {id(variant.spec): variant for variant in workloads}
    optimizer_of = {id(optimizer): optimizer for optimizer in optimizers}
    found: dict[int, dict[int, list[Variant]]] = {}
    for workload, optimizer, schedule in met:
        found.setdefault(schedule, {}).setdefault(optimizer, []).append(workload_of[workload])
    return lambda schedule: (
        ([optimizer_of[optimizer]], _by_steps(those, steps_of))
        for optimizer, those in found.get(id(schedule), {}).items()
    )


def _by_steps(workloads: list[Variant], steps_of: Callable[[Workload], int | None]) -> Runs:
    names: dict[int, list[str]] = {}
    for variant in workloads:
        if (steps := steps_of(variant.spec)) is not None:
            names.setdefault(steps, []).append(variant.name)
    return dict(sorted(names.items()))


def _unfit(schedule: Schedule, runs: Runs, where: str) -> Iterator[Problem]:
    """The problems of a schedule with the runs it meets; the work is that of the runs it does not fit in."""
    for steps, names in runs.items():
        found = run_problems(schedule, steps, "", where)
        if not found and schedule.fits_longer_runs:
            return
        for name in names if found else ():
            yield from run_problems(schedule, steps, f"the steps of workload {name}", where)


def _suited(schedule: Schedule, optimizers: list[Optimizer], where: str) -> tuple[dict[Problem, None], Schedule | None]:
    """The schedule with the largest beta2 it has, which makes it longest; None where it has none."""
    searches = [problem for optimizer in optimizers for problem in search_problems(schedule, optimizer, where)]
    if searches or not schedule.needs_beta2:
        return dict.fromkeys(searches), None if searches else schedule
    problems: dict[Problem, None] = {}
    longest = -1.0
    for optimizer in optimizers:
        refused = beta2_problems(schedule, optimizer, where)
        problems |= dict.fromkeys(refused)
        if not refused:
            beta2 = beta2_of(optimizer)
            longest = max(longest, -1.0 if beta2 is None else beta2)
    if problems or not optimizers:
        return problems, None
    return {}, schedule.with_beta2(longest if longest >= 0 else None)

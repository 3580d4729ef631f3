"""What the parts of a study say against each other: names, baseline, rates, and warmups that outlast their run."""

from collections.abc import Callable, Collection, Iterable, Mapping

from schemas.entries import Entry
from schemas.errors import Problem
from schemas.learning_rates import PeakLRs
from schemas.problems import did_you_mean, show
from schemas.schedules import Schedule
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
    if baseline is None or baseline in names:
        return []
    allowed = f"the name of a schedule: {', '.join(names[:20])}{did_you_mean(baseline, names)}"
    return [Problem("analysis.baseline", show(baseline), allowed)]


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
    axes: Axes, steps_of: Callable[[Workload], int | None], pairs: Collection[tuple[int, int]] | None = None
) -> list[Problem]:
    """Warmups that are longer than a run they belong to.

    Args:
        steps_of: a workload -> its budget in updates; None where it is not known here.
        pairs: identities of (workload, schedule) that meet in a trial; None: all of them do.
    """
    problems: dict[Problem, None] = {}
    workloads = [
        (variant.name, variant.spec, steps)
        for entry in axes["workloads"]
        for variant in entry.variants.values()
        if (steps := steps_of(variant.spec)) is not None
    ]
    for entry in axes["schedules"]:
        for schedule in (variant.spec for variant in entry.variants.values()):
            for name, workload, steps in workloads:
                if pairs is None or (id(workload), id(schedule)) in pairs:
                    problems |= dict.fromkeys(_too_long(schedule, steps, name, entry.where))
    return list(problems)


def _too_long(schedule: Schedule, total_steps: int, workload: str, where: str) -> list[Problem]:
    warmup_steps = schedule.warmup_steps(total_steps)
    if warmup_steps is None or warmup_steps <= total_steps:
        return []
    allowed = f"at most {total_steps}, the steps of workload {workload}"
    return [Problem(f"{where}.warmup.steps", str(warmup_steps), allowed)]

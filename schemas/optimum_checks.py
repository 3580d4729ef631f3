"""A stated optimum above the loss where an analytic function starts: refused in the spec, where that loss is known."""

from collections.abc import Collection, Iterator, Mapping

from schemas.analysis import Analysis
from schemas.closed_loops import GivenOptimum
from schemas.entries import Entry, Variant
from schemas.errors import Problem
from schemas.problems import show
from schemas.starts import start_loss
from schemas.workloads import Analytic

Met = Collection[tuple[int, int, int]] | None


def optimum_problems(analysis: Analysis, axes: Mapping[str, tuple[Entry, ...]], met: Met = None) -> list[Problem]:
    """Optima, of closed loops and of the analysis, that lie above the loss at a start: there would be no gap.

    Of a network, or a start whose loss is not known here, only running can tell: the trial is then `stalled`, reason
    `optimum_above_start`.

    Args:
        met: identities of (workload, optimizer, schedule) that meet in a trial; None: all of them do.
    """
    starts = list(_starts(axes["workloads"]))
    problems: dict[Problem, None] = {}
    for entry in axes["schedules"]:
        for variant in entry.variants.values():
            optimum = getattr(variant.spec.warmup, "optimum", None)
            if isinstance(optimum, GivenOptimum):
                where = f"{entry.where}.warmup.optimum.value"
                here = [one for one in starts if met is None or _meet(met, one[0], variant)]
                problems |= dict.fromkeys(_above(optimum.value, here, where))
    if analysis.optimum is not None and isinstance(analysis.optimum, GivenOptimum):
        problems |= dict.fromkeys(_above(analysis.optimum.value, starts, "analysis.optimum.value"))
    return list(problems)


def _starts(workloads: tuple[Entry, ...]) -> Iterator[tuple[Variant, float]]:
    for entry in workloads:
        for variant in entry.variants.values():
            loss = start_loss(variant.spec) if isinstance(variant.spec, Analytic) else None
            if loss is not None:
                yield variant, loss


def _meet(met: Collection[tuple[int, int, int]], workload: Variant, schedule: Variant) -> bool:
    return any((one[0], one[2]) == (id(workload.spec), id(schedule.spec)) for one in met)


def _above(value: float, starts: list[tuple[Variant, float]], where: str) -> Iterator[Problem]:
    for variant, loss in starts:
        if value > loss:
            yield Problem(where, show(value), f"at most {loss:g}, the loss where workload {variant.name} starts")

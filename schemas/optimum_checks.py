"""A stated optimum above the loss where an analytic function starts: refused in the spec, where that loss is known."""

from bisect import bisect_left
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
    stated = [
        (variant.spec.warmup.optimum.value, id(variant.spec), f"{entry.where}.warmup.optimum.value")
        for entry in axes["schedules"]
        for variant in entry.variants.values()
        if isinstance(getattr(variant.spec.warmup, "optimum", None), GivenOptimum)
    ]
    of_analysis = analysis.optimum if isinstance(analysis.optimum, GivenOptimum) else None
    if not stated and of_analysis is None:
        return []
    # Sorted by loss, so that the work is that of the starts that are refused.
    starts = sorted(_starts(axes["workloads"]), key=lambda one: one[1])
    losses = [loss for _, loss in starts]
    met_pairs = None if met is None else {(workload, schedule) for workload, _, schedule in met}
    problems: dict[Problem, None] = {}
    for value, schedule, where in stated:
        for variant, loss in starts[: bisect_left(losses, value)]:
            if met_pairs is None or (id(variant.spec), schedule) in met_pairs:
                problems[_above(value, variant, loss, where)] = None
    if of_analysis is not None:
        for variant, loss in starts[: bisect_left(losses, of_analysis.value)]:
            problems[_above(of_analysis.value, variant, loss, "analysis.optimum.value")] = None
    return list(problems)


def _starts(workloads: tuple[Entry, ...]) -> Iterator[tuple[Variant, float]]:
    for entry in workloads:
        for variant in entry.variants.values():
            loss = start_loss(variant.spec) if isinstance(variant.spec, Analytic) else None
            if loss is not None:
                yield variant, loss


def _above(value: float, variant: Variant, loss: float, where: str) -> Problem:
    return Problem(where, show(value), f"at most {loss:g}, the loss where workload {variant.name} starts")

"""How the updates to the target grow with the gap that a run starts from, beside what theory bounds them by."""

from collections.abc import Iterator

import numpy as np

from workers.analysis.figures.colours import BASELINE
from workers.analysis.figures.model import Axis, Figure, Panel, Series, numbers
from workers.analysis.figures.source import FigureSource
from workers.analysis.ranking import Group
from workers.laws.step_bounds import adaptive_step_bound, fixed_step_order

NAME = "steps_to_target"
_LINE_POINTS = 40


def draw(source: FigureSource) -> Figure:
    """Steps against first gap, log-log, one panel per analytic workload and optimizer that starts at several gaps."""
    return Figure(
        NAME,
        "Steps to the target over the first gap",
        "Each schedule at its fastest peak LR; none is drawn where it missed the target. Dashed: at most so many steps "
        "with the step size 1/(10 H0 + 20 H1 gap) (arXiv 2510.03164, Theorem 4.3). Dotted: the order of what a fixed "
        "rate needs at least, over all functions of the class (Theorem 4.1): a single one may be met by luck. Look "
        "for: curves that stay flat while a constant's rises with the gap, and points above their bound.",
        tuple(_panels(source)),
    )


def _panels(source: FigureSource) -> Iterator[Panel]:
    together: dict[tuple[str, str], list[Group]] = {}
    for group in source.groups:
        together.setdefault((group.workload_entry, group.optimizer_entry), []).append(group)
    for (entry, optimizer), several in together.items():
        optimum = source.question.optimum(entry)
        if source.question.target is None or optimum is None:  # known of analytic ones alone
            continue
        starts = {round(gap, 12): group for group in several if (gap := _first_gap(group, source) - optimum) > 0}
        if len(starts) > 1:
            gaps = dict(sorted(starts.items()))
            series = (*_measured(gaps, source), *_bounds(gaps, entry, source.question.target - optimum, source))
            title = f"{entry}, {optimizer}" if len(source.question.optimizers) > 1 else entry
            yield Panel(title, Axis("first gap", log=True), Axis("steps to the target", log=True), series)


def _first_gap(group: Group, source: FigureSource) -> float:
    trials = source.table.trials
    return float(trials.loc[(trials["group"] == group.label).to_numpy(), "start_loss"].median())


def _measured(gaps: dict[float, Group], source: FigureSource) -> Iterator[Series]:
    for contender in source.baseline_last(next(iter(gaps.values()))):
        found = {
            gap: each.fastest_median
            for gap, group in gaps.items()
            for each in group.contenders
            if each.schedule == contender.schedule and np.isfinite(each.fastest_median)
        }
        look, steps = source.look(contender.schedule), numbers(list(found.values()), positive=True)
        if found:
            yield Series(
                contender.schedule,
                look.colour,
                numbers(list(found)),
                steps,
                kind="points",
                low=steps,
                high=steps,
                symbol=look.symbol,
                dash=look.dash,
            )


def _bounds(gaps: dict[float, Group], entry: str, target: float, source: FigureSource) -> Iterator[Series]:
    function = source.question.workloads[entry].get("function") or {}
    h0, h1 = function.get("k0"), function.get("k1")
    # Of a cosh the constants are known, and it is k0-strongly convex.
    if function.get("kind") != "cosh" or not (isinstance(h0, float) and isinstance(h1, float)) or target <= 0:
        return
    line = np.geomspace(min(gaps), max(gaps), _LINE_POINTS)
    upper = [adaptive_step_bound(gap, target, h0, h1, mu=h0) for gap in line]
    if None not in upper:
        yield Series("bound of rule alimisis", "#D55E00", numbers(line), numbers(upper), dash="dash")
    if min(gaps) > max(1.0, target):
        lower = [fixed_step_order(gap, target, h1, mu=h0) for gap in line]
        yield Series("order of a fixed rate", BASELINE, numbers(line), numbers(lower), dash="dot")

"""Whether the loss is less smooth where it is higher: secant smoothness against the gap."""

import numpy as np
import pandas as pd

from workers.analysis.figures.model import Axis, Figure, Panel, Series, numbers
from workers.analysis.figures.source import FigureSource
from workers.analysis.ranking import Contender, Group

NAME = "smoothness_over_gap"
_MAX_POINTS_PER_SERIES = 1500
_UNKNOWN_OPTIMUM = "gap: probe loss (optimum taken as 0)"


def draw(source: FigureSource) -> Figure:
    """Secant smoothness against gap, log-log, coloured by step, one panel per group."""
    return Figure(
        NAME,
        "Secant smoothness against gap",
        "Secant smoothness: how much the gradient on one fixed probe batch changed per length of the real step, "
        "||g(w') - g(w)|| / ||w' - w||. Gap: the loss on that batch minus the optimum; the optimum is the function's "
        "own for an analytic workload and taken as 0 otherwise. Colour: step; mark: schedule, each at its best peak "
        "LR. Look for: a straight rising trend, which is what makes a warmup that follows the loss safe, and for where "
        "in training it breaks. In one run loss and time fall together: a trend here is no proof of a law.",
        tuple(panel for group in source.groups if (panel := _panel(group, source)).series),
    )


def _panel(group: Group, source: FigureSource) -> Panel:
    known = source.question.optimum(group.workload_entry)
    optimum = 0.0 if known is None else known
    probes = source.probes_of_kind("secant_smoothness")
    probes = probes.assign(gap=probes["loss"].to_numpy() - optimum)
    pairs = probes[["gap", "value"]].to_numpy()
    points = probes[((pairs > 0) & np.isfinite(pairs)).all(axis=1)]
    drawn = [_series(each, points, source) for each in source.baseline_last(group)]
    series = tuple(each for each in drawn if each is not None)
    return Panel(
        group.label,
        Axis(f"gap: probe loss - {optimum:g}" if known is not None else _UNKNOWN_OPTIMUM, log=True),
        Axis("secant smoothness", log=True),
        series,
        shade_title="step",
        note=source.note(group),
    )


def _series(contender: Contender, points: pd.DataFrame, source: FigureSource) -> Series | None:
    rows = source.curves(points, contender)
    if rows.empty:
        return None
    rows = rows.iloc[:: -(-len(rows) // _MAX_POINTS_PER_SERIES)]
    return Series(
        contender.schedule,
        source.look(contender.schedule).colour,
        numbers(rows["gap"]),
        numbers(rows["value"]),
        kind="marks",
        symbol=source.look(contender.schedule).symbol,
        shade=numbers(rows["step"], digits=12),
    )

"""Whether curvature follows the gap: all measured points, with the fitted law and its envelope."""

import numpy as np

from workers.analysis.figures.model import Axis, Figure, Panel, Series, numbers
from workers.analysis.figures.source import FigureSource
from workers.analysis.law_words import NAMES, formula
from workers.analysis.laws import GroupLaws
from workers.analysis.ranking import Group
from workers.laws.power_law import PowerLaw

NAME = "smoothness_law"
_MAX_POINTS = 1500
_LINE_POINTS = 60


def draw(source: FigureSource) -> Figure:
    """Curvature against gap, log-log, coloured by peak LR, one panel per group."""
    panels = [_panel(group, source.laws[group.label]) for group in source.groups if group.label in source.laws]
    return Figure(
        NAME,
        "Smoothness law: curvature against gap",
        "The converged points of every done trial, of very many every so many; gap: loss on the probe batch minus the "
        "optimum; colour: peak LR. "
        "Solid: K0 + Krho gap^rho by least squares in logs. Dashed: its 95 % envelope (quantile regression), which is "
        "what the law claims. Look for: points of all colours on one rising line. Colours that lie apart at the same "
        "gap are curvature that follows something else.",
        tuple(panel for panel in panels if panel.series),
    )


def _panel(group: Group, measured: GroupLaws) -> Panel:
    main = measured.laws[0]
    points = measured.points.usable().thinned(_MAX_POINTS)
    series: tuple[Series, ...] = ()
    if len(points):
        drawn = Series(
            "measured",
            "#0072B2",
            numbers(points.gap),
            numbers(points.curvature),
            kind="marks",
            shade=numbers(np.log10(points.peak_lr)),
        )
        gaps = np.geomspace(points.gap.min(), points.gap.max(), _LINE_POINTS)
        lines = [("fit", main.fit.law, "#000000", "solid"), ("95 % envelope", main.fit.envelope, "#D55E00", "dash")]
        series = (drawn, *(_line(name, law, colour, dash, gaps) for name, law, colour, dash in lines if law.k0 >= 0))
    return Panel(
        group.label,
        Axis(f"gap: probe loss - {main.optimum:.4g} ({main.optimum_kind})", log=True),
        Axis(NAMES[main.response], log=True),
        series,
        shade_title=f"log10 of peak LR{f' x {group.rate_unit}' if group.rate_unit else ''}",
        note=f"{str(main.fit.answer).capitalize()}: {main.fit.reasons[0]}.",
    )


def _line(name: str, law: PowerLaw, colour: str, dash: str, gaps: np.ndarray) -> Series:
    return Series(f"{name}: {formula(law)}", colour, numbers(gaps), numbers(law.at(gaps), positive=True), dash=dash)

"""Where in peak LR x schedule training works, and where it does not."""

import math

import pandas as pd

from workers.analysis.figures.model import Axis, Figure, Heat, Panel, numbers
from workers.analysis.figures.source import FigureSource, rate_axis
from workers.analysis.plain import number, padded
from workers.analysis.ranking import Group

NAME = "heatmap"
_MAX_COLUMNS_WITH_TEXT = 24


def draw(source: FigureSource) -> Figure:
    """Mean final metric over peak LR (columns) and schedule (rows), one panel per group."""
    return Figure(
        NAME,
        "Peak LR x schedule",
        "Colour: mean final metric over seeds. In a cell: that mean and, where some seed did not train, how many of "
        "how many did, with ✕ and the number that diverged and ▽ and the number that stalled. Look for: how far right "
        "each row stays usable; a row that reaches further than the baseline's is what warmup buys.",
        tuple(panel for group in source.groups if (panel := _panel(group, source)).heat is not None),
    )


def _panel(group: Group, source: FigureSource) -> Panel:
    cells = source.cells_of(group)
    rates = sorted(cells["rate"].unique())
    rows = [each.schedule for each in source.drawn(group)]
    chosen = _best_at_each_rate(cells, group.higher_is_better)
    means = [[chosen[key]["mean"] if (key := (row, rate)) in chosen else math.nan for rate in rates] for row in rows]
    known = [mean for row in means for mean in row if math.isfinite(mean)]
    written = len(rates) <= _MAX_COLUMNS_WITH_TEXT
    texts = [[_text(chosen.get((row, rate))) if written else "" for rate in rates] for row in rows]
    heat = Heat(
        tuple(numbers(row) for row in means),
        tuple(map(tuple, texts)),
        group.metric.replace("_", " "),
        log=bool(known) and min(known) > 0 and max(known) > 4 * min(known),
        lower_is_better=not group.higher_is_better,
    )
    return Panel(
        group.label,
        Axis(rate_axis(group), categories=tuple(number(rate, 3) for rate in rates)),
        Axis("schedule", categories=tuple(shorten(row) for row in rows)),
        heat=heat if known else None,
        note=source.note(group),
    )


def shorten(name: str, length: int = 28) -> str:
    """A long name leaves no room for the map."""
    return name if len(name) <= length else name[: length - 1] + "…"


def _best_at_each_rate(cells: pd.DataFrame, higher_is_better: bool) -> dict[tuple[str, float], dict[str, float]]:
    chosen: dict[tuple[str, float], dict[str, float]] = {}
    columns = ["contender", "rate", "mean", "trained", "diverged", "stalled", "num_trials", "done"]
    for row in cells[columns].to_dict("records"):
        key = (row["contender"], row["rate"])
        better = key not in chosen or ((row["mean"] > chosen[key]["mean"]) == higher_is_better)
        if better or math.isnan(chosen[key]["mean"]):
            chosen[key] = row
    return chosen


def _text(cell: dict[str, float] | None) -> str:
    if cell is None:
        return ""
    if cell["done"] == 0:
        return "not done"
    lines = [padded(cell["mean"])]
    if cell["trained"] < cell["num_trials"]:
        lines.append(f"{cell['trained']:.0f}/{cell['num_trials']:.0f}")
    marks = [f"{mark}{cell[name]:.0f}" for name, mark in (("diverged", "✕"), ("stalled", "▽")) if cell[name]]
    return "\n".join([*lines, " ".join(marks)] if marks else lines)

"""How the final metric hangs on the peak learning rate under each schedule."""

import pandas as pd

from workers.analysis.figures.model import Axis, Figure, Panel, Series, Symbol, numbers
from workers.analysis.figures.source import FigureSource, rate_axis
from workers.analysis.ranking import Contender, Group

NAME = "metric_over_peak_lr"


def draw(source: FigureSource) -> Figure:
    """Mean and range over seeds of the final metric against peak LR, one panel per group."""
    return Figure(
        NAME,
        "Final metric over peak LR",
        "Point: mean over seeds; bar: lowest to highest seed. A cross marks a peak LR at which some seed diverged, a "
        "triangle one at which some seed stalled; those count as no better than a constant answer, none is left out. "
        "Look for: how far to the right each curve stays low, and whether its best point is an end of the grid.",
        tuple(panel for group in source.groups if (panel := _panel(group, source)).series),
    )


def _panel(group: Group, source: FigureSource) -> Panel:
    cells = source.cells_of(group)
    drawn_names = [each.schedule for each in source.drawn(group)]
    cells = cells[((cells["n"] > 0) & cells["contender"].isin(drawn_names)).to_numpy()]
    cells = _best_at_each_rate(cells, group.higher_is_better)
    curves = [_series(each, cells, source) for each in source.baseline_last(group)]
    drawn = tuple(each for each in curves if each.x)
    is_loss = not group.metric.endswith("accuracy")
    unit = source.question.loss_unit(group.workload_entry) if is_loss else " (fraction)"
    log = not group.higher_is_better and bool((cells[["mean", "low"]].to_numpy() > 0).all())
    return Panel(
        group.label,
        Axis(rate_axis(group), log=bool((cells["rate"] > 0).all())),
        Axis(f"final {group.metric.replace('_', ' ')}{unit}", log=log),
        (*drawn, *_marks(cells)) if drawn else (),
        note=source.note(group),
    )


def _best_at_each_rate(cells: pd.DataFrame, higher_is_better: bool) -> pd.DataFrame:
    """Of several tuned configurations at one rate, the one that the schedule would choose there."""
    in_order = cells.sort_values("mean", ascending=not higher_is_better, kind="stable")
    return cells.loc[in_order.drop_duplicates(["contender", "rate"]).index.sort_values()]


def _series(contender: Contender, cells: pd.DataFrame, source: FigureSource) -> Series:
    own = cells[(cells["contender"] == contender.schedule).to_numpy()]
    look = source.look(contender.schedule)
    return Series(
        contender.schedule,
        look.colour,
        numbers(own["rate"], digits=12),
        numbers(own["mean"]),
        kind="points",
        low=numbers(own["low"]),
        high=numbers(own["high"]),
        symbol=look.symbol,
        dash=look.dash,
        texts=tuple(
            f"{row.trained} of {row.num_trials} trained" for row in own[["trained", "num_trials"]].itertuples()
        ),
    )


def _marks(cells: pd.DataFrame) -> tuple[Series, ...]:
    marks = []
    symbols: dict[str, Symbol] = {"diverged": "x", "stalled": "triangle-down-open"}
    for outcome, symbol in symbols.items():
        some = cells[(cells[outcome] > 0).to_numpy()]
        if some.empty:
            continue
        counts = zip(some[outcome], some["num_trials"], strict=True)
        texts = tuple(f"{count} of {total} {outcome}" for count, total in counts)
        marks.append(
            Series(
                f"some seed {outcome}",
                "#000000",
                numbers(some["rate"], digits=12),
                numbers(some["mean"]),
                kind="marks",
                symbol=symbol,
                texts=texts,
            )
        )
    return tuple(marks)

"""Marks at what happened along the curves of a panel: at each event of one kind, of the trials that are drawn."""

from collections.abc import Callable, Mapping
from typing import Any

from workers.analysis.figures.model import Series, Symbol, numbers
from workers.analysis.figures.source import FigureSource
from workers.analysis.ranking import Group

MAX_MARKS = 200
_LOOKS: dict[str, tuple[Symbol, str]] = {"loss_spike": ("triangle-up-open", "#7A4B00"), "catapult": ("x", "#A8431B")}


def event_marks(
    source: FigureSource, group: Group, kind: str, place: Callable[[int, Mapping[str, Any]], tuple[float, float]]
) -> tuple[Series, ...]:
    """One series, or none where nothing happened. `place`: (step, values) -> where the mark stands."""
    drawn = {trial for each in source.drawn(group) for trial in source.best_trials.get(each.best_cell, ())}
    events = source.events
    mine = events[((events["kind"] == kind) & events["trial_id"].isin(drawn)).to_numpy()]
    if mine.empty:
        return ()
    mine = mine.iloc[:: -(-len(mine) // MAX_MARKS)]
    x, y = zip(*(place(step, said) for step, said in zip(mine["step"], mine["values"], strict=True)), strict=True)
    symbol, colour = _LOOKS[kind]
    name = kind.replace("_", " ")
    return (
        Series(name, colour, numbers(x, digits=12), numbers(y), kind="marks", symbol=symbol, texts=(name,) * len(mine)),
    )

"""A curve of one contender at its best peak LR: the median over seeds, and the band from the lowest to the highest."""

import pandas as pd

from workers.analysis.figures.model import Series, numbers
from workers.analysis.figures.source import FigureSource, curve_over_seeds
from workers.analysis.plain import number
from workers.analysis.ranking import Contender


def band_over_seeds(
    source: FigureSource, contender: Contender, rows: pd.DataFrame, value: str, *, marked: bool = False
) -> Series | None:
    """The curve of column `value` of `rows`; None where the contender has none. `marked`: a symbol at each point."""
    curve = curve_over_seeds(source.curves(rows, contender), value)
    if curve.empty:
        return None
    look = source.look(contender.schedule)
    symbol = {"symbol": look.symbol} if marked else {}
    return Series(
        f"{contender.schedule} (peak LR {number(contender.best_rate, 3)})",
        look.colour,
        numbers(curve["step"], digits=12),
        numbers(curve["median"]),
        low=numbers(curve["low"]),
        high=numbers(curve["high"]),
        dash=look.dash,
        **symbol,
    )

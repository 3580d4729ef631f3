"""What a figure is before it is drawn: panels of series, the same for the page and for print."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Numbers = tuple[float | None, ...]
"""None is a gap."""

Symbol = Literal[
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "pentagon",
    "star",
    "hexagon",
    "x",
    "triangle-up-open",
    "triangle-down-open",
]
"""What marks a point; plotly's names."""


@dataclass(frozen=True)
class Axis:
    """A title with its unit; `categories` for a heatmap; `limits` where the data's own would mislead."""

    title: str
    log: bool = False
    categories: tuple[str, ...] = ()
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Series:
    """Points (x, y). `low` and `high`: a band around a `curve`, or a bar at each of `points`.

    `shade`: a number per point that colours it, named by the panel's `shade_title`.
    """

    name: str
    colour: str
    x: Numbers
    y: Numbers
    kind: Literal["curve", "points", "marks"] = "curve"
    low: Numbers = ()
    high: Numbers = ()
    symbol: Symbol = "circle"
    dash: str = "solid"
    shade: Numbers = ()
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A horizontal line at `y` that the data are read against."""

    y: float
    text: str


@dataclass(frozen=True)
class Heat:
    """values[row][column] over the categories of y and x, with `texts` written into the cells."""

    values: tuple[Numbers, ...]
    texts: tuple[tuple[str, ...], ...]
    title: str
    log: bool
    lower_is_better: bool


@dataclass(frozen=True)
class Panel:
    """One plot: of one workload and optimizer."""

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...] = ()
    rules: tuple[Rule, ...] = ()
    heat: Heat | None = None
    shade_title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """Panels that answer one question; `caption` says what to look for."""

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]


def figure_from_json(data: dict[str, Any]) -> Figure:
    """The inverse of `workers.analysis.plain.plain` on a figure."""
    return Figure(data["name"], data["title"], data["caption"], tuple(_panel(each) for each in data["panels"]))


def _panel(data: dict[str, Any]) -> Panel:
    heat = data["heat"] and Heat(
        **{
            **data["heat"],
            "values": tuple(map(tuple, data["heat"]["values"])),
            "texts": tuple(map(tuple, data["heat"]["texts"])),
        }
    )
    return Panel(
        **{
            **data,
            "x": Axis(**_tuples(data["x"])),
            "y": Axis(**_tuples(data["y"])),
            "series": tuple(Series(**_tuples(each)) for each in data["series"]),
            "rules": tuple(Rule(**each) for each in data["rules"]),
            "heat": heat,
        }
    )


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


def numbers(values: Any, *, positive: bool = False, digits: int = 5) -> Numbers:
    """`values` to a few significant digits (a page is read, not computed from); what cannot be drawn is a gap."""
    array = np.asarray(values, dtype=float)
    drawable = np.isfinite(array) & ((array > 0) | (not positive))
    return tuple(
        float(f"{value:.{digits}g}") if good else None
        for value, good in zip(array.tolist(), drawable.tolist(), strict=True)
    )

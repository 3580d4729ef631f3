"""A figure on paper: SVG and PNG by matplotlib, without a display, the same bytes each time."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.analysis.figures.interactive import MARKED_POINTS, log_ticks, tick_places
from workers.analysis.figures.model import Axis, Figure, Heat, Panel, Series, Symbol

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SYMBOLS: dict[Symbol, str] = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "pentagon": "p",
    "star": "*",
    "hexagon": "h",
    "x": "x",
    "triangle-up-open": "^",
    "triangle-down-open": "v",
}
_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "warmup-bench",  # else ids in an SVG are drawn at random
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "legend.fontsize": 8,
}


def save_figure(figure: Figure, path: Path) -> Path:
    """Draw all panels, one under another, into `path`; its suffix (.svg, .png, .pdf) says the format."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(_STYLE):
        count = max(1, len(figure.panels))
        canvas = Canvas(figsize=(8.0, 4.0 * count), layout="constrained")
        FigureCanvasAgg(canvas)
        for axes, panel in zip(canvas.subplots(count, 1, squeeze=False)[:, 0], figure.panels, strict=False):
            _draw_panel(canvas, axes, panel)
        if not figure.panels:
            canvas.suptitle(f"{figure.title}: nothing to draw")
        undated = {"Date": None} if path.suffix == ".svg" else {"CreationDate": None} if path.suffix == ".pdf" else {}
        canvas.savefig(path, dpi=150, metadata=undated)
    return path


def _draw_panel(canvas: Any, axes: "Axes", panel: Panel) -> None:
    axes.set_title(panel.title, loc="left", fontsize=10)
    axes.set_xlabel(panel.x.title)
    axes.set_ylabel(panel.y.title)
    if panel.heat is not None:
        _draw_heat(canvas, axes, panel, panel.heat)
        return
    _scale(axes, panel)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    shown = None
    for series in panel.series:
        shown = _draw_series(axes, panel, series) or shown
    if shown is not None:
        canvas.colorbar(shown, ax=axes, label=panel.shade_title)
    for rule in panel.rules:
        axes.axhline(rule.y, color="black", linestyle=":", linewidth=1.2)
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
        behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5}
        axes.annotate(rule.text, (1, rule.y), fontsize=8, bbox=behind, **place)
    if shown is not None:
        axes.legend(loc="best")
    elif panel.series:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _scale(axes: "Axes", panel: Panel) -> None:
    xs = [value for each in panel.series for value in each.x]
    ys = [value for each in panel.series for value in (*each.y, *each.low, *each.high)]
    _scale_axis(panel.x, xs, axes.xaxis, axes.set_xscale, axes.set_xlim)
    _scale_axis(panel.y, ys, axes.yaxis, axes.set_yscale, axes.set_ylim)


def _scale_axis(axis: Axis, values: list[float | None], ticked: Any, set_scale: Any, set_limits: Any) -> None:
    if axis.log:
        set_scale("log")
        known = [math.log10(value) for value in axis.limits or values if value is not None and value > 0]
        ticks = log_ticks(min(known, default=0.0), max(known, default=1.0))
        ticked.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        ticked.set_minor_formatter("")
    if axis.limits is not None:
        set_limits(*axis.limits)


def _draw_series(axes: "Axes", panel: Panel, series: Series) -> Any:
    x, y = _floats(series.x), _floats(series.y)
    marker = _SYMBOLS[series.symbol]
    if series.shade:
        steps = [value for each in panel.series for value in each.shade if value is not None]
        limits = {"vmin": min(steps), "vmax": max(steps)}
        shade: dict[str, Any] = {"c": _floats(series.shade), "cmap": "viridis", **limits}
        return axes.scatter(x, y, marker=marker, s=14, label=series.name, **shade)
    look: dict[str, Any] = {"color": series.colour, "label": series.name}
    if series.kind == "marks":
        face = "none" if series.symbol.endswith("-open") else series.colour
        edge: dict[str, Any] = {} if marker == "x" else {"edgecolors": series.colour}
        axes.scatter(x, y, marker=marker, s=60, zorder=5, label=series.name, c=face, **edge)
    elif series.kind == "points":
        low = [max(0.0, value - end) for value, end in zip(y, _floats(series.low), strict=True)]
        high = [max(0.0, end - value) for value, end in zip(y, _floats(series.high), strict=True)]
        axes.errorbar(x, y, [low, high], marker=marker, ms=4, ls=_DASHES[series.dash], lw=1.2, capsize=2, **look)
    else:
        if len(x) <= MARKED_POINTS:
            look |= {"marker": marker, "markersize": 3}
        axes.plot(x, y, linestyle=_DASHES[series.dash], linewidth=1.2, **look)
        if series.low:
            axes.fill_between(
                x, _floats(series.low), _floats(series.high), color=series.colour, alpha=0.15, linewidth=0
            )
    return None


def _draw_heat(canvas: Any, axes: "Axes", panel: Panel, heat: Heat) -> None:
    values = [[math.nan if value is None else value for value in row] for row in heat.values]
    drawn = [[math.log10(value) for value in row] for row in values] if heat.log else values
    image = axes.imshow(drawn, aspect="auto", cmap="viridis_r" if heat.lower_is_better else "viridis")
    for set_ticks, names in ((axes.set_xticks, panel.x.categories), (axes.set_yticks, panel.y.categories)):
        shown = tick_places(names)
        set_ticks(shown, [names[index] for index in shown])
    axes.set_ylabel("")
    bar = canvas.colorbar(image, ax=axes, label=heat.title)
    known = [value for row in drawn for value in row if math.isfinite(value)]
    if heat.log and known:
        ticks = log_ticks(min(known), max(known))
        bar.set_ticks([math.log10(tick) for tick in ticks], labels=[f"{tick:g}" for tick in ticks])
    for row, texts in enumerate(heat.texts):
        for column, text in enumerate(texts):
            colour = _readable(image, drawn[row][column])
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)


def _readable(image: Any, value: float) -> str:
    if not math.isfinite(value):
        return "black"
    red, green, blue, _ = image.cmap(image.norm(value))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def _floats(values: tuple[float | None, ...]) -> list[float]:
    return [math.nan if value is None else value for value in values]

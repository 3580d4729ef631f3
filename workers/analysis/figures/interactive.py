"""A figure as Plotly draws it: plain dictionaries, so that making a page imports no plotly."""

import html
import math
from collections.abc import Iterator
from typing import Any

from workers.analysis.figures.model import Axis, Figure, Heat, Panel, Series

Json = dict[str, Any]

_FONT = {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 13, "color": "#222"}
_GRID = "#e6e6e6"
_PANEL_HEIGHT = 420
MARKED_POINTS = 40
"""A curve of no more has a mark at each: a line through one point alone is not seen."""


def panel_figure(panel: Panel) -> Json:
    """One panel as a Plotly figure of its own, for a page that lays panels out itself."""
    layout = {**_layout(panel.heat is None), "title": _title(panel.title), **_axes(panel, "", None)}
    if panel.heat is not None:
        layout["height"] = _heat_height(panel)
    return {"data": list(_traces(panel, "")), "layout": layout}


def whole_figure(figure: Figure) -> Json:
    """All panels, one under another, as one Plotly figure."""
    count = max(1, len(figure.panels))
    layout = {
        **_layout(all(panel.heat is None for panel in figure.panels)),
        "title": _title(figure.title),
        "height": 120 + _PANEL_HEIGHT * count,
        "annotations": [],
    }
    layout["legend"] = {**layout["legend"], "y": -60 / layout["height"]}
    data: list[Json] = []
    for index, panel in enumerate(figure.panels):
        suffix = "" if index == 0 else str(index + 1)
        top = 1 - index / count
        domain = (top - 0.8 / count if index + 1 < count else 0.0, top - 0.06 / count)
        axes = _axes(panel, suffix, domain)
        layout["annotations"] += [*axes.pop("annotations", ()), _panel_heading(panel, domain[1])]
        layout |= axes
        data += [_with_colour_bar_beside(trace, domain) for trace in _traces(panel, suffix)]
    named = set()
    for trace in data:  # one legend for all panels: the first of each name is enough
        group = trace.get("legendgroup")
        if trace.get("showlegend"):
            trace["showlegend"] = group not in named
            named.add(group)
    return {"data": data, "layout": layout}


def _with_colour_bar_beside(trace: Json, domain: tuple[float, float]) -> Json:
    beside = {"y": sum(domain) / 2, "yanchor": "middle", "len": domain[1] - domain[0]}
    for holder in (trace, trace.get("marker", {})):
        if "colorbar" in holder:
            holder["colorbar"] = {**holder["colorbar"], **beside}
    return trace


def safe(text: str) -> str:
    """Plotly reads some HTML in its texts: a name is shown as it is written."""
    return html.escape(text, quote=False)


def _layout(has_legend: bool) -> Json:
    return {
        "font": _FONT,
        "paper_bgcolor": "#fff",
        "plot_bgcolor": "#fff",
        "height": _PANEL_HEIGHT,
        "margin": {"l": 70, "r": 24, "t": 48, "b": 56},
        "hovermode": "closest",
        "showlegend": has_legend,
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0, "font": {"size": 12}},
    }


def _title(text: str) -> Json:
    return {"text": safe(text), "font": {"size": 15}, "x": 0.01, "xanchor": "left"}


def _panel_heading(panel: Panel, top: float) -> Json:
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": top, "xanchor": "left", "yanchor": "bottom"}
    return {"text": f"<b>{safe(panel.title)}</b>", "showarrow": False, **place}


def _heat_height(panel: Panel) -> int:
    return 130 + 62 * max(2, len(panel.y.categories))


def _axes(panel: Panel, suffix: str, domain: tuple[float, float] | None) -> Json:
    x_axis = _axis(panel.x, [value for each in panel.series for value in each.x])
    y_axis = _axis(panel.y, [value for each in panel.series for value in (*each.y, *each.low, *each.high)])
    if domain is not None:
        y_axis["domain"] = list(domain)
        x_axis["anchor"], y_axis["anchor"] = f"y{suffix}", f"x{suffix}"
    if panel.heat is not None:
        y_axis |= {"autorange": "reversed", "showgrid": False, "title": {"text": ""}}
        x_axis |= {"showgrid": False, "tickfont": {"size": 11}}
    axes: Json = {f"xaxis{suffix}": x_axis, f"yaxis{suffix}": y_axis}
    if panel.rules:
        axes["annotations"] = [_rule_label(rule.y, rule.text, suffix, panel.y.log) for rule in panel.rules]
    return axes


def _axis(axis: Axis, values: list[float | None]) -> Json:
    drawn: Json = {
        "title": {"text": safe(axis.title), "standoff": 8},
        "automargin": True,
        "gridcolor": _GRID,
        "zeroline": False,
        "linecolor": "#999",
        "ticks": "outside",
        "tickcolor": "#999",
    }
    if axis.categories:
        shown = tick_places(axis.categories)
        drawn |= {"tickmode": "array", "tickvals": shown}
        drawn["ticktext"] = [safe(axis.categories[index]) for index in shown]
    elif axis.log:
        drawn |= {"type": "log", "minor": {"ticks": "outside", "ticklen": 3, "dtick": "D1"}}
        positive = [math.log10(value) for value in axis.limits or values if value is not None and value > 0]
        ticks = log_ticks(min(positive, default=0.0), max(positive, default=1.0))
        drawn |= {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    if axis.limits is not None:
        drawn["range"] = [math.log10(limit) for limit in axis.limits] if axis.log else list(axis.limits)
    return drawn


def _rule_label(y: float, text: str, suffix: str, log: bool) -> Json:
    place = {"xref": f"x{suffix} domain", "yref": f"y{suffix}", "x": 1, "y": math.log10(y) if log else y}
    anchors = {"xanchor": "right", "yanchor": "bottom", "showarrow": False}
    return {"text": safe(text), "font": {"size": 12}, "bgcolor": "rgba(255,255,255,0.75)", **anchors, **place}


def _traces(panel: Panel, suffix: str) -> Iterator[Json]:
    place = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
    if panel.heat is not None:
        yield {**_heat_trace(panel, panel.heat), **place}
    for rule in panel.rules:
        yield {**_rule_trace(panel, rule.y), **place}
    for index, series in enumerate(panel.series):
        if series.kind == "curve" and series.low:
            yield {**_band(series), **place}
        yield {**_points(series, panel, is_first=index == 0), **place}


def _band(series: Series) -> Json:
    spans = [
        (x, low, high)
        for x, low, high in zip(series.x, series.low, series.high, strict=True)
        if x is not None and low is not None and high is not None
    ]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [x for x, _, _ in spans] + [x for x, _, _ in reversed(spans)],
        "y": [low for _, low, _ in spans] + [high for _, _, high in reversed(spans)],
        "fill": "toself",
        "fillcolor": _translucent(series.colour),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": safe(series.name),
    }


def _points(series: Series, panel: Panel, *, is_first: bool) -> Json:
    mode = {"curve": "lines", "points": "lines+markers", "marks": "markers"}[series.kind]
    if series.kind == "curve" and len(series.x) <= MARKED_POINTS:
        mode = "lines+markers"
    trace: Json = {
        "type": "scatter",
        "mode": mode,
        "name": safe(series.name),
        "legendgroup": safe(series.name),
        "showlegend": True,
        "x": list(series.x),
        "y": list(series.y),
        "line": {"color": series.colour, "width": 2, "dash": series.dash},
        "marker": {"color": series.colour, "symbol": series.symbol, "size": 7},
    }
    if series.texts:
        trace["text"] = [safe(text) for text in series.texts]
    if series.kind == "points" and series.low:
        trace["error_y"] = _bars(series)
    if series.kind == "marks" and not series.shade:
        trace["marker"] |= {"size": 11, "line": {"width": 1.5, "color": series.colour}}
    if series.shade:
        trace["marker"] |= _shading(series, panel, is_first=is_first)
    return trace


def _bars(series: Series) -> Json:
    rows = list(zip(series.low, series.y, series.high, strict=True))
    known = [(low, y, high) if None not in (low, y, high) else (0.0, 0.0, 0.0) for low, y, high in rows]
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - y for _, y, high in known],  # type: ignore[operator]
        "arrayminus": [y - low for low, y, _ in known],  # type: ignore[operator]
        "thickness": 1.2,
        "width": 3,
        "color": series.colour,
    }


def _shading(series: Series, panel: Panel, *, is_first: bool) -> Json:
    steps = [value for each in panel.series for value in each.shade if value is not None]
    bar = {"title": {"text": safe(panel.shade_title), "side": "right"}, "thickness": 12, "len": 0.9}
    return {
        "color": list(series.shade),
        "colorscale": "Viridis",
        "cmin": min(steps, default=0),
        "cmax": max(steps, default=1),
        "size": 7,
        "opacity": 0.8,
        "showscale": is_first,
        **({"colorbar": bar} if is_first else {}),
    }


def _rule_trace(panel: Panel, y: float) -> Json:
    steps = [x for series in panel.series for x in series.x if x is not None]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [min(steps, default=0), max(steps, default=1)],
        "y": [y, y],
        "line": {"color": "#000", "width": 1.5, "dash": "dot"},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _heat_trace(panel: Panel, heat: Heat) -> Json:
    def scaled(value: float | None) -> float | None:
        return value if value is None or not heat.log else math.log10(value)

    z = [[scaled(value) for value in row] for row in heat.values]
    bar: Json = {"title": {"text": safe(heat.title), "side": "right"}, "thickness": 12}
    if heat.log:
        known = [value for row in z for value in row if value is not None]
        ticks = log_ticks(min(known), max(known))
        bar |= {"tickvals": [math.log10(tick) for tick in ticks], "ticktext": [f"{tick:g}" for tick in ticks]}
    return {
        "type": "heatmap",
        "x": list(range(len(panel.x.categories))),
        "y": list(range(len(panel.y.categories))),
        "z": z,
        "text": [[safe(text).replace("\n", "<br>") for text in row] for row in heat.texts],
        "texttemplate": "%{text}",
        "hovertemplate": "%{text}<extra></extra>",
        "colorscale": "Viridis",
        "reversescale": heat.lower_is_better,
        "xgap": 2,
        "ygap": 2,
        "colorbar": bar,
    }


_ROUND = ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9))


def log_ticks(low: float, high: float) -> list[float]:
    """The roundest numbers between 10^low and 10^high of which there are three, at most nine; else the two ends."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    for steps in _ROUND[high - low <= 1.8 :]:
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        inside = [tick for tick in ticks if low - 1e-9 <= math.log10(tick) <= high + 1e-9]
        if len(inside) >= 3 or steps == (1,):
            return inside[:: -(-len(inside) // 9)]
    return [10.0**low, 10.0**high]


def tick_places(categories: tuple[str, ...]) -> list[int]:
    """Which categories are named: all, or evenly chosen ones where there are too many to read."""
    return list(range(0, len(categories), -(-len(categories) // 40)))


def _translucent(colour: str) -> str:
    red, green, blue = (int(colour[index : index + 2], 16) for index in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"

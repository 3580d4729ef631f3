"""The report as one HTML page that needs no network."""

import json
import math
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from workers.analysis.figures.interactive import panel_figure
from workers.analysis.phrases import usable_bound, usable_ratio
from workers.analysis.plain import alike, json_for_html, number, padded
from workers.analysis.report import StudyReport

_TEMPLATES = Path(__file__).parent / "templates"
MAX_CELL_ROWS = 600
"""Rows of the cell table on the page; report.json has all of them."""
_MAX_SPEC_CHARACTERS = 60_000


def render_page(report: StudyReport) -> str:
    """The whole page, plotly.js inside."""
    figures = [
        {"figure": figure, "ids": [f"{name}-{index}" for index in range(len(figure.panels))]}
        for name, figure in report.figures.items()
    ]
    drawings = {
        f"{name}-{index}": panel_figure(panel)
        for name, figure in report.figures.items()
        for index, panel in enumerate(figure.panels)
    }
    return _template().render(
        report=report,
        figures=figures,
        drawings=Markup(json_for_html(drawings)),
        plotly_js=Markup(_plotly_js()) if drawings else "",
        cells=report.cells[:MAX_CELL_ROWS],
        spec=_spec_text(report),
        has_target=any(each.steps.n for group in report.groups for each in group.contenders),
        confidence=number(100 * float((report.spec.get("analysis") or {}).get("confidence") or 0.95), 3),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number_or_dash, "padded": _padded_or_dash}
    environment.globals |= {"usable_bound": usable_bound, "usable_ratio": usable_ratio, "alike": alike}
    return environment.get_template("report.html")


def _number_or_dash(value: float | None, digits: int = 4) -> str:
    return "–" if value is None or math.isnan(value) else number(value, digits)


def _padded_or_dash(value: float, digits: int = 4) -> str:
    return "–" if math.isnan(value) else padded(value, digits)


@cache
def _plotly_js() -> str:
    from importlib.resources import files

    # read, not imported: the page needs the script, and the package costs most of a second
    return (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def _spec_text(report: StudyReport) -> str:
    text = json.dumps(report.spec, indent=2, ensure_ascii=False)
    return text if len(text) <= _MAX_SPEC_CHARACTERS else text[:_MAX_SPEC_CHARACTERS] + "\n... (see study.yaml)"

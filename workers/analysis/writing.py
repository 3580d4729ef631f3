"""Which files a report becomes."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import PlaceError
from workers.analysis.figures.interactive import whole_figure
from workers.analysis.figures.still import save_figure
from workers.analysis.page import render_page
from workers.analysis.report import StudyReport, load_figure, report_json

if TYPE_CHECKING:
    import plotly.graph_objects as go


def write_report(report: StudyReport, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write `verdict.txt`, `report.json` and `report.html` into `folder`, each whole or not at all.

    Raises:
        PlaceError: the folder cannot be written.
    """
    texts = {"verdict.txt": report.verdict, "report.json": report_json(report), "report.html": render_page(report)}
    try:
        return tuple(_replace(Path(folder) / name, text) for name, text in texts.items())
    except OSError as error:
        raise PlaceError(f"{folder}: the report cannot be written there ({error})") from error


def figure(source: StudyReport | str | os.PathLike[str], name: str) -> "go.Figure":
    """A figure of a report, or of a folder with a `report.json`, as a plotly figure.

    Raises:
        PlaceError: the folder has no report. ValueError: there is no figure of that name.
    """
    import plotly.graph_objects as go

    return go.Figure(whole_figure(load_figure(source, name)))


def figure_svg(source: StudyReport | str | os.PathLike[str], name: str, path: str | os.PathLike[str]) -> Path:
    """Save a figure as SVG. Errors as for `figure`."""
    return save_figure(load_figure(source, name), Path(path).with_suffix(".svg"))


def figure_png(source: StudyReport | str | os.PathLike[str], name: str, path: str | os.PathLike[str]) -> Path:
    """Save a figure as PNG. Errors as for `figure`."""
    return save_figure(load_figure(source, name), Path(path).with_suffix(".png"))


def _replace(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(text, encoding="utf-8", newline="\n", errors="backslashreplace")
    os.replace(temporary, path)
    return path

"""What a study's end looks like on a terminal: verdict, ranking, where the report is, how to open MLflow."""

import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.trials import TrialState
from workers.ledger.ledger import Ledger
from workers.ledger.rows import StudyRow
from workers.places import Places
from workers.tracking.places import tracking_uri as resolve_tracking_uri
from workers.wrapping import wrapped

PLAIN_WIDTH = 80
"""Where there is no terminal to ask."""
ONE_LINE_WIDTH = 100
"""From here on a comparison fits beside the other columns in one line."""
FORMS = ("{} {} {} {}", "{}\n{} {} {}", "{}\n{}\n{} {}", "{}\n{}\n{}\n{}")
"""Verdict, difference and both ends of its interval."""
LEAST_NAME_WIDTH = 17
"""Of the schedules' column, where not everything fits."""
MOST_REASONS = 3
"""So many different reasons of errored trials are told."""
LOOKED_AT = 200
"""Of so many errored trials, the first ones."""


def read_answer(ledger: Ledger, row: StudyRow, folder: Path, places: Places) -> dict[str, Any]:
    """The answer as JSON types."""
    report: dict[str, Any] = {}
    if (folder / "report.json").is_file():
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    fresh = ledger.study(row.id)
    return {
        "id": row.id,
        "name": row.name,
        "state": str(fresh.state),
        "reason": fresh.reason,
        "publishing": fresh.publishing,
        "publishing_reason": ledger.why_behind(row.id) if fresh.publishing != "current" else "",
        "counts": ledger.counts(row.id),
        "total": fresh.total,
        "errored": _errored(ledger, row, places),
        "verdict": report.get("verdict", ""),
        "ranking": report.get("ranking", []),
        "folder": str(folder),
        "report": str(folder / "report.html") if report else None,
        "tracking_uri": places.tracking_uri,
        "mlflow_ui": mlflow_command(places),
        "sync": shlex.join(["warmup-bench", "sync", row.id[:8], *_places_flags(places)]),
    }


def _errored(ledger: Ledger, row: StudyRow, places: Places) -> list[dict[str, str]]:
    """Why trials are errored, each reason once, the first ones, with the command that shows what one of them said."""
    if not ledger.counts(row.id)["errored"]:
        return []
    trials, _ = ledger.trials_page(row.id, LOOKED_AT, state=TrialState.ERRORED)
    first = {trial.reason: trial.trial_id for trial in reversed(trials)}
    return [
        {
            "reason": trial.reason,
            "trial_id": trial.trial_id,
            "logs": shlex.join(
                ["warmup-bench", "logs", row.id[:8], "--trial", trial.trial_id[:8], *_places_flags(places)[:2]]
            ),
        }
        for trial in trials
        if first[trial.reason] == trial.trial_id
    ][:MOST_REASONS]


def show_answer(answer: dict[str, Any], stream: TextIO) -> None:
    """Print it for a person, but for what MLflow has: that may not be known yet."""
    console = _console(stream)
    console.print(f"\n{wrapped(answer['verdict'], console.width).rstrip()}\n", markup=False, soft_wrap=True)
    for (workload, optimizer), rows in _groups(answer["ranking"]).items():
        console.print(_table(f"{workload}, {optimizer}: final {rows[0]['metric']}", rows, console.width))
        console.print()
    if answer["reason"]:
        console.print(f"{answer['state']}: {answer['reason']}", markup=False)
    for one in answer.get("errored", []):
        console.print(f"errored  {one['reason']}\n         {one['logs']} shows more", markup=False, soft_wrap=True)
    if answer["report"]:
        console.print(f"report   {answer['report']}", markup=False, soft_wrap=True)


def show_mlflow(answer: dict[str, Any], stream: TextIO) -> None:
    """Print how to open MLflow, and what to do where it is behind."""
    console = _console(stream)
    if answer["mlflow_ui"]:
        console.print(f"MLflow   {answer['mlflow_ui']}", markup=False, soft_wrap=True)
        if answer["publishing"] != "current":
            why = f" ({answer['publishing_reason']})" if answer["publishing_reason"] else ""
            console.print(f"         is behind{why}; {answer['sync']} catches up", markup=False, soft_wrap=True)


def _console(stream: TextIO) -> Console:
    return Console(file=stream, highlight=False, width=None if stream.isatty() else PLAIN_WIDTH)


def mlflow_command(places: Places) -> str | None:
    """The one line that opens MLflow's UI on the results."""
    if places.tracking_uri is None:
        return None
    if places.tracking_uri.startswith(("http://", "https://")):
        return f"open {places.tracking_uri}"
    beside = Path(sys.executable).parent / "mlflow"
    command = str(beside) if beside.exists() else "mlflow"
    return shlex.join([command, "ui", "--backend-store-uri", places.tracking_uri])


def _places_flags(places: Places) -> list[str]:
    """The flags that name these places to another command, without those that follow from the home."""
    flags = ["--home", str(places.home)]
    if places.records != str(places.home / "records"):
        flags += ["--records", places.records]
    if places.tracking_uri not in (None, resolve_tracking_uri(None, places.home)):
        flags += ["--tracking-uri", str(places.tracking_uri)]
    return flags


def _groups(ranking: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in ranking:
        groups.setdefault((row["workload"], row["optimizer"]), []).append(row)
    return groups


def _table(title: str, rows: list[dict[str, Any]], width: int) -> Table:
    """In the least broken of the forms that fit: intervals give way before names do."""
    names = max((len(row["schedule"]) for row in rows), default=0)
    # The unit is in the title: in a heading it would leave no room for the schedules' names.
    headings = ("peak LR x" if _unit(rows) else "peak LR", "mean", "sd", "trained", "against the\nbaseline", "usable")
    for form in FORMS if width >= ONE_LINE_WIDTH else FORMS[1:]:
        cells = [_cells(row, form) for row in rows]
        columns = zip(headings, *cells, strict=True)
        room = width - sum(2 + max(len(line) for cell in column for line in cell.split("\n")) for column in columns)
        if room > min(names, LEAST_NAME_WIDTH):
            break
    title = f"{title}; peak LR x {_unit(rows)}" if _unit(rows) else title
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1))
    # Folded, not cut: two variants of a sweep may differ in their last letters alone.
    table.add_column("schedule", overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="left" if heading.startswith("against") else "right", no_wrap=True)
    for row, others in zip(rows, cells, strict=True):
        table.add_row(Text(row["schedule"]), *map(Text, others))  # brackets are no markup
    return table


def _cells(row: dict[str, Any], form: str) -> tuple[str, ...]:
    return (
        _number(row["peak_lr"]),
        _number(row["mean"]),
        _number(row["sd"], 2),
        f"{row['trained']}/{row['num_trials']}",
        _against(row, form),
        row["largest_usable"].replace(">= ", "≥"),
    )


def _unit(rows: list[dict[str, Any]]) -> str:
    return str(rows[0].get("peak_lr_unit") or "") if rows else ""


def _against(row: dict[str, Any], form: str) -> str:
    if not isinstance(row["difference"], float):
        return str(row["verdict"])
    difference, *ends = _interval(row["difference"], row["low"], row["high"]).split(" ")
    return form.format(row["verdict"], difference, *(ends or ("", ""))).rstrip()


def _interval(difference: float, low: Any, high: Any) -> str:
    """All three to the second digit of the interval's half width: `-0.0024 [-0.0107, 0.0060]`."""
    if not (isinstance(low, float) and isinstance(high, float) and 1e-9 < high - low < 1e9):
        return f"{difference:+.3g}"
    decimals = max(0, 1 - math.floor(math.log10((high - low) / 2)))
    return f"{difference:+.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


def _number(value: Any, digits: int = 3) -> str:
    return f"{value:.{digits}g}" if isinstance(value, int | float) else "-"

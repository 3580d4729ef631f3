"""What a study's end looks like on a terminal: verdict, ranking, where the report is, how to open MLflow."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from workers.ledger.ledger import Ledger
from workers.ledger.rows import StudyRow
from workers.places import Places
from workers.tracking.places import tracking_uri as resolve_tracking_uri


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
        "counts": ledger.counts(row.id),
        "total": fresh.total,
        "verdict": report.get("verdict", ""),
        "ranking": report.get("ranking", []),
        "folder": str(folder),
        "report": str(folder / "report.html") if report else None,
        "tracking_uri": places.tracking_uri,
        "mlflow_ui": mlflow_command(places),
        "sync": shlex.join(["warmup-bench", "sync", row.id[:8], *_places_flags(places)]),
    }


def show_answer(answer: dict[str, Any], stream: TextIO) -> None:
    """Print it for a person."""
    console = Console(file=stream, highlight=False, width=None if stream.isatty() else 120)
    console.print(f"\n{answer['verdict'].rstrip()}\n", markup=False)
    for (workload, optimizer), rows in _groups(answer["ranking"]).items():
        console.print(_table(f"{workload}, {optimizer}", rows))
    if answer["reason"]:
        console.print(f"{answer['state']}: {answer['reason']}", markup=False)
    if answer["report"]:
        console.print(f"report   {answer['report']}", markup=False, soft_wrap=True)
    if answer["mlflow_ui"]:
        console.print(f"MLflow   {answer['mlflow_ui']}", markup=False, soft_wrap=True)
        if answer["publishing"] != "current":
            console.print(f"         is behind; {answer['sync']} catches up", markup=False, soft_wrap=True)


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


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in ("schedule", "best peak lr", rows[0]["metric"], "sd", "trained", "vs baseline", "largest usable lr"):
        # Folded, not cut: two variants of a sweep may differ in their last letters alone.
        is_text = heading in ("schedule", "vs baseline")
        table.add_column(heading, justify="left" if is_text else "right", overflow="fold")
    for row in rows:
        table.add_row(
            row["schedule"],
            _number(row["peak_lr"]),
            _number(row["mean"]),
            _number(row["sd"]),
            f"{row['trained']}/{row['num_trials']}",
            _against(row),
            row["largest_usable"],
        )
    return table


def _against(row: dict[str, Any]) -> str:
    if not isinstance(row["difference"], float):
        return str(row["verdict"])
    return f"{row['verdict']} {row['difference']:+.3g} [{_number(row['low'])}, {_number(row['high'])}]"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "-"

"""How a benchmark runs the command and reads, from the study's ledger, when what happened."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.e2e.commands import all_events
from workers.launcher import child_environment
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind

NUM_CORES = 2
"""Every figure is asked for on two cores."""
INTERRUPTED = 130
POLL_S = 1.0


@dataclass(frozen=True)
class CommandRun:
    """One `warmup-bench run`. Times are seconds since the command was started."""

    seconds: float
    first_line_s: float
    events: list[tuple[EventKind, float]]
    """Kind and time of each event of the study, in order."""

    def first(self, kind: EventKind) -> float:
        """When the first event of a kind was committed."""
        return next(seconds for found, seconds in self.events if found is kind)

    def last(self, kind: EventKind) -> float:
        """When the last event of a kind was committed."""
        return max(seconds for found, seconds in self.events if found is kind)


def run_study(spec: dict[str, Any] | str, folder: Path, *flags: str, only_training: bool = False) -> CommandRun:
    """Run a document, or a preset by its name, in a home of its own below `folder`, which must not exist.

    Args:
        only_training: interrupt the command once every trial is done; what follows the last step is then left out.

    Raises:
        RuntimeError: the command failed; the message ends with its last lines.
    """
    folder.mkdir(parents=True)
    home = folder / "home"
    command = [sys.executable, "-P", "-m", "service.cli.main", "run", _as_file(spec, folder)]
    command += ["--home", str(home), "--out", str(folder / "out"), *flags]
    began_s, began = time.time(), time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=child_environment() | {"MLFLOW_TRACKING_URI": ""},
    )
    assert process.stderr is not None
    lines = [process.stderr.readline()]
    first_line_s = time.perf_counter() - began
    if only_training:
        lines.append(process.stderr.readline())  # which names the study: it is in the ledger then
        _wait_for_trials(home, process)
        process.send_signal(signal.SIGINT)
    lines += process.stderr.readlines()
    status = process.wait()
    seconds = time.perf_counter() - began
    if status not in ((0, INTERRUPTED) if only_training else (0,)):
        raise RuntimeError(f"the command ended with status {status}:\n{''.join(lines[-20:])}")
    return CommandRun(seconds, first_line_s, _events(home, began_s))


def on_two_cores() -> None:
    """Keep this process and its children on two cores, where there are more."""
    cores = sorted(os.sched_getaffinity(0))[:NUM_CORES]
    os.sched_setaffinity(0, cores)


def _wait_for_trials(home: Path, process: subprocess.Popen[str]) -> None:
    with Ledger.open(home, create=False) as ledger:
        while process.poll() is None:
            studies, _ = ledger.list_studies()
            if studies and ledger.counts(studies[0].id)["done"] == studies[0].total:
                return
            time.sleep(POLL_S)


def _as_file(spec: dict[str, Any] | str, folder: Path) -> str:
    if isinstance(spec, str):
        return spec
    file = folder / "study.yaml"
    with file.open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(spec, stream)
    return str(file)


def _events(home: Path, began_s: float) -> list[tuple[EventKind, float]]:
    with Ledger.open(home, create=False) as ledger:
        (study,), _ = ledger.list_studies()
        return [(event.kind, event.at.timestamp() - began_s) for event in all_events(ledger, study.id)]

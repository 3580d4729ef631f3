"""Progress while a study runs: a live line on a terminal, plain lines where it is none."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from service.cli.options import human_seconds, say
from service.progress import Progress as StudyProgress

PLAIN_EVERY_S = 5.0


class Display:
    """Shows trials done, running, diverged, and the ETA. Writes to stderr.

    Args:
        to: where metrics are published; None: nowhere.
        is_here: whether this command runs the study; else it may have to wait for its turn.
    """

    def __init__(self, total: int, to: str | None = None, *, is_here: bool = True) -> None:
        self._total = total
        self._to = to
        self._is_here = is_here
        self._live: Progress | None = None
        self._last_plain = 0.0
        self._last_line = self._last_phase = ""

    def __enter__(self) -> "Display":
        if sys.stderr.isatty():
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=30),
                TaskProgressColumn(),
                TimeElapsedColumn(table_column=Column(min_width=len("0:00:00"), no_wrap=True)),  # the bar gives way
                console=Console(stderr=True),
                transient=True,
            )
            self._live.start()
            self._task = self._live.add_task("starting", total=1.0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, progress: StudyProgress) -> None:
        """Bring the display up to date."""
        for notice in progress.notices:
            self._say(notice)
        progress.notices.clear()
        phase = phase_of(progress)
        line = describe(progress, phase, progress.eta_s(time.monotonic()), self._to)
        if phase == "starting" and not self._is_here and progress.state == "queued":
            line = "queued: it waits for its turn"
        if self._live is not None:
            self._live.update(self._task, description=line, completed=progress.fraction)
            return
        now = time.monotonic()
        # A new phase is said at once; within one, a line every few seconds.
        is_due = phase != self._last_phase or now - self._last_plain >= PLAIN_EVERY_S
        if is_due and line != self._last_line:
            self._say(line)
            self._last_plain, self._last_line, self._last_phase = now, line, phase

    def _say(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, markup=False)
        else:
            say(text)


def phase_of(progress: StudyProgress) -> str:
    """`starting`, `training`, `reporting`, `publishing`, or how the study ended."""
    if progress.state == "done":
        return "publishing"
    if progress.is_final:
        return progress.state
    if not progress.is_planned or (not progress.running and not progress.num_final):
        return "starting"
    return "reporting" if progress.num_final >= progress.total else "training"


def describe(progress: StudyProgress, phase: str, eta_s: float | None, to: str | None) -> str:
    """One line: what is done, what runs, what diverged, how long still."""
    if phase == "starting":
        return "starting Ray and its workers, which load torch (some seconds)"
    said = [f"{progress.done}/{progress.total} trials done"]
    said += [f"{progress.trials_running} running"] if phase == "training" else []
    counts = ("reused", "diverged", "stalled", "errored", "cancelled")
    said += [f"{getattr(progress, name)} {name}" for name in counts if getattr(progress, name)]
    if phase == "training":
        said += [f"{human_seconds(eta_s)} left"] if eta_s is not None else []
    elif phase == "reporting":
        said.append("writing tables and report")
    elif phase == "publishing" and to is not None:
        behind = f", which does not answer; at most a minute (study {progress.state})"
        runs = f", {progress.published:,} runs are there" if progress.published else ""
        said.append(f"publishing to MLflow{behind if progress.publishing == 'behind' else runs}")
    return ", ".join(said)

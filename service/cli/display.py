"""Progress while a study runs: a live line on a terminal, plain lines where it is none."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from service.cli.options import human_seconds, say
from service.progress import Progress as StudyProgress

PLAIN_EVERY_S = 5.0


class Display:
    """Shows trials done, running, diverged, and the ETA. Writes to stderr."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._live: Progress | None = None
        self._last_plain = 0.0
        self._last_line = ""

    def __enter__(self) -> "Display":
        if sys.stderr.isatty():
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=30),
                TaskProgressColumn(),
                TimeElapsedColumn(),
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
        line = describe(progress, progress.eta_s(time.monotonic()))
        if self._live is not None:
            self._live.update(self._task, description=line, completed=progress.fraction)
            return
        now = time.monotonic()
        is_last = progress.done + progress.errored + progress.cancelled >= progress.total
        if line != self._last_line and (now - self._last_plain >= PLAIN_EVERY_S or is_last or not self._last_line):
            self._say(line)
            self._last_plain, self._last_line = now, line

    def _say(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, markup=False)
        else:
            say(text)


def describe(progress: StudyProgress, eta_s: float | None) -> str:
    """One line: what is done, what runs, what diverged, how long still."""
    if not progress.pack_steps:
        return "starting: workers, torch" if progress.state in ("queued", "running") else progress.state
    said = [f"{progress.done}/{progress.total} trials done", f"{progress.trials_running} running"]
    said += [f"{progress.diverged} diverged"] if progress.diverged else []
    said += [f"{progress.stalled} stalled"] if progress.stalled else []
    said += [f"{progress.errored} errored"] if progress.errored else []
    if progress.done + progress.errored + progress.cancelled >= progress.total:
        said.append("writing the report" if progress.state == "running" else "publishing to MLflow")
    elif eta_s is not None:
        said.append(f"{human_seconds(eta_s)} left")
    return ", ".join(said)

"""Has a child process write a study's report: analysis takes seconds to minutes and hundreds of megabytes."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from threading import Lock

from workers.launcher import child_environment, module_command

FILES = ("report.json", "report.html", "verdict.txt")
"""What a report is; the tables that it is made from are not kept."""
WRITE_S = 300.0
"""A child that has not ended by then is ended."""
NICENESS = 10
SCRATCH = ".scratch-"
ABANDONED_S = 3_600.0


class ReportFailed(Exception):
    """The child failed or took too long; the message is for the log."""


class ReportWriter:
    """Writes one report at a time."""

    def __init__(self, ledger_url: str, records: str, *, write_s: float = WRITE_S) -> None:
        self._ledger_url, self._records, self._write_s = ledger_url, records, write_s
        self._child: subprocess.Popen[str] | None = None
        self._is_stopped = False
        self._starting = Lock()

    def write(self, study_id: str, kept: Path, version: str) -> float:
        """Write the report into `kept/STUDY/VERSION`, whole or not at all; returns the seconds that it took.

        Raises:
            ReportFailed: it could not be written.
        """
        began = time.monotonic()
        try:
            kept.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=kept, ignore_cleanup_errors=True) as scratch:
                results, report = Path(scratch) / "results", Path(scratch) / "report"
                self._run(study_id, results)
                report.mkdir()
                for name in FILES:
                    (results / name).rename(report / name)
                _publish(report, kept / study_id / version)
        except (OSError, subprocess.SubprocessError) as error:
            raise ReportFailed(f"{type(error).__name__}: {error}") from error
        return time.monotonic() - began

    def stop(self) -> None:
        """End the child, and start no other."""
        with self._starting:
            self._is_stopped = True
            if self._child is not None:
                _kill(self._child)

    def _run(self, study_id: str, folder: Path) -> None:
        order = {"study_id": study_id, "ledger": self._ledger_url, "records": self._records, "folder": str(folder)}
        order["max_cpu_s"] = int(self._write_s) + 1
        with self._starting:
            if self._is_stopped:
                raise ReportFailed("the service is stopping")
            self._child = _start()
        with self._child as child:
            try:
                _, said = child.communicate(json.dumps(order), timeout=self._write_s)
            except subprocess.TimeoutExpired as error:
                raise ReportFailed(f"not written in {self._write_s:.0f} s") from error
            finally:
                _kill(child)
        if child.returncode != 0:
            raise ReportFailed(f"exit status {child.returncode}: {said[-2_000:].strip()}")


def _start() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["nice", "-n", str(NICENESS), *module_command("workers.results")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=child_environment() | {"OMP_NUM_THREADS": "1"},
        cwd=tempfile.gettempdir(),
        start_new_session=True,  # so that all of it can be ended
    )


def _kill(child: "subprocess.Popen[str]") -> None:
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _publish(report: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    try:
        report.rename(target)
    except OSError:
        if not target.is_dir():  # another process that shares this home was faster
            raise


def make_room(kept: Path, max_bytes: int, *, keep: Path) -> None:
    """Remove reports until the rest has at most `max_bytes`: older versions first, then those not asked for longest.

    Also what a process that was killed has left behind.
    """
    found = []
    for scratch in kept.glob(f"{SCRATCH}*"):
        with contextlib.suppress(OSError):
            if time.time() - scratch.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(scratch, ignore_errors=True)
    for folder in kept.glob("[!.]*/*"):
        with contextlib.suppress(OSError):  # another process may be doing the same
            size = sum(file.stat().st_size for file in folder.iterdir())
            is_older = folder.parent == keep.parent and folder != keep
            found.append((not is_older, folder.stat().st_mtime, size, folder))
    total = sum(size for _, _, size, _ in found)
    for is_newest, _, size, folder in sorted(found):
        if folder != keep and (total > max_bytes or not is_newest):
            shutil.rmtree(folder, ignore_errors=True)
            total -= size

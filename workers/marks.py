"""Processes told by a mark in their environment and by their owner, never by their name: found, and ended."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil

HOME = "WARMUP_BENCH_SERVE"
"""The home whose service started a process, as `home_mark` gives it."""
STUDY = "WARMUP_BENCH_RUN"
"""The study that a process works for."""
RAY = "WARMUP_BENCH_RAY"
"""The Ray that a process is part of, wherever it hangs in the tree."""
DRIVER, IS_DRIVER = "WARMUP_BENCH_DRIVER", "1"
"""A driver on a cluster, and nothing that it starts."""
KEPT = {"SPT_NOENV": "1"}
"""Without it, a process of Ray that gives itself a title writes it over its environment, a mark of ours included."""
PROC = Path("/proc")
KILL_ROUNDS = 3
"""A process may start another while it is being killed."""


def environment_of(process: psutil.Process) -> dict[str, str]:
    """What a living process of this user was started with; empty for another's, and for one that is gone."""
    try:
        if process.uids().real != os.getuid():
            return {}
        if not PROC.is_dir():
            return dict(process.environ())
        # Not by psutil: it stops reading at the gap that a process leaves which has given itself a title.
        entries = (PROC / str(process.pid) / "environ").read_bytes().decode(errors="replace").split("\0")
    except (psutil.Error, OSError):
        return {}
    return dict(entry.partition("=")[::2] for entry in entries if "=" in entry)


def marked(name: str, value: str) -> Iterator[psutil.Process]:
    """Every process of this user, but this one, whose environment has that value."""
    for process in psutil.process_iter():
        if process.pid != os.getpid() and environment_of(process).get(name) == value:
            yield process


def end_marked(name: str, value: str) -> None:
    """Kill (SIGKILL) every process that `marked` finds."""
    for _ in range(KILL_ROUNDS):
        if not end_all(list(marked(name, value))):
            return


def end_rays_of_dead_drivers(study_id: str) -> None:
    """Kill what is left of the Rays that drivers of this study, which have ended, had for themselves.

    The kernel ends a raylet with its driver, but the raylet's agents live on for a minute, and a trainer until it is
    about to write. Call it before a Ray of one's own starts, under the lease, which says that they are dead; and after
    the end of a driver of one's own, which Ray may have cut short.
    """
    end_all([found for found in marked(STUDY, study_id) if RAY in environment_of(found)])


def end_all(processes: list[psutil.Process]) -> int:
    """Kill (SIGKILL) these and wait until they are gone, a second at most. Returns how many there were."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=1.0)
    return len(processes)


def lives(process: psutil.Process) -> bool:
    """Whether it runs; a zombie does not, though nobody has waited for it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def ask_to_stop(process: psutil.Process) -> None:
    """SIGTERM, unless it is gone."""
    with contextlib.suppress(psutil.Error):
        process.send_signal(signal.SIGTERM)

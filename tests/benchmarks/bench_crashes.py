"""What a crash costs: checkpoints' share of the training, work made again, time to the next step, resume of 10,000."""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import psutil
from commands import on_two_cores
from packs_in_process import tasks_of
from ruamel.yaml import YAML
from specs import digits_sgd, one_step

from schemas.errors import PlaceError
from workers import marks
from workers.cluster.orders import PackOrder
from workers.cluster.pack_runner import PackRunner
from workers.launcher import child_environment
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind, EventRow
from workers.planning.packs import CHECKPOINT_S

NUM_SAVES = 12
VICTIMS = ("trainer", "raylet", "driver", "ray")
OF_RAY = ("raylet", "gcs_server")
LONG_STEPS = 40_000
NUM_TRIALS, DONE_SHARE = 10_000, 0.9
WAIT_S = 300.0
T = TypeVar("T")


def main(num_trials: int = NUM_TRIALS) -> dict[str, float]:
    """All figures."""
    on_two_cores()
    figures: dict[str, float] = {}
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        figures |= checkpoint_share(folder / "share")
        figures |= recovery(folder / "recovery")
        figures |= resume(folder / "resume", num_trials)
    sys.stdout.write("".join(f"{name:36} {value:10.4f}\n" for name, value in figures.items()))
    return figures


def checkpoint_share(folder: Path) -> dict[str, float]:
    """One pack of the quickstart's classifier: seconds a checkpoint (folding included) over those between two."""
    task = replace(tasks_of(digits_sgd(20 * NUM_SAVES + 100, 4))[0], chunk_steps=20)
    runner, order = PackRunner(str(folder), None), PackOrder(task, 1, [], None)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * NUM_SAVES):
        began = time.perf_counter()
        progress = runner.advance(order if number == 0 else None, 0.0, save=number % 2 == 1)
        seconds[number % 2 == 1].append(time.perf_counter() - began)
        if progress.results is not None:
            break
    alone, with_one = (statistics.median(seconds[saved][1:]) for saved in (False, True))
    return {
        "checkpoint_s": max(0.0, with_one - alone),
        "checkpoint_share": max(0.0, with_one - alone) / CHECKPOINT_S,
    }


def recovery(folder: Path) -> dict[str, float]:
    """One study, in which one victim after another is killed: time to the next durable step, and steps made again."""
    document = digits_sgd(LONG_STEPS, 1, num_rates=2)
    figures: dict[str, float] = {}
    with _running(document, folder) as home:
        lost = []
        for victim in VICTIMS:
            before = _next_progress(home, 0)
            study_id = _study(home)
            killed_at = time.time()
            _kill(study_id, victim)
            lost.append(_steps_again(home))
            after = _next_progress(home, before[-1].seq)
            figures[f"{victim}_to_next_step_s"] = after[-1].at.timestamp() - killed_at
        figures["steps_again_of_a_cadence"] = max(lost)
    return figures


def resume(folder: Path, num_trials: int) -> dict[str, float]:
    """A study that is interrupted when most of it is done: from the command to the first missing pack's start."""
    document = one_step(num_trials)
    with _running(document, folder) as home:
        _until(lambda: _share_done(home) >= DONE_SHARE)
    began = time.time()
    with _running(document, folder) as home:
        started = _until(
            lambda: [
                event
                for event in _events(home)
                if event.kind is EventKind.PACK_STARTED and event.at.timestamp() >= began
            ]
        )
    return {"resume_at_share": _share_done(home), "resume_first_start_s": started[0].at.timestamp() - began}


class _running:
    """`warmup-bench run` of a document in a home below `folder`; interrupted at the end of the block."""

    def __init__(self, document: dict[str, object], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._home, file = folder / "home", folder / "study.yaml"
        with file.open("w", encoding="utf-8") as stream:
            YAML(typ="safe", pure=True).dump(document, stream)
        self._command = [sys.executable, "-P", "-m", "service.cli.main", "run", str(file), "--home", str(self._home)]
        self._command += ["--out", str(folder / "out"), "--tracking-uri", "none", "--workers", "2"]

    def __enter__(self) -> Path:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=child_environment()
        )
        return self._home

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self._process.wait(WAIT_S)


def _kill(study_id: str, victim: str) -> None:
    for process in marks.marked(marks.STUDY, study_id):
        with suppress(psutil.Error, ProcessLookupError):
            line, name = " ".join(process.cmdline()), process.name()
            is_ray = name in OF_RAY or line.startswith("ray::")
            kinds = {"trainer": line.startswith("ray::Trainer"), "driver": "-m workers.cluster" in line, "ray": is_ray}
            if kinds.get(victim, name == victim):
                os.kill(process.pid, signal.SIGKILL)
                if victim == "trainer":
                    return


def _steps_again(home: Path) -> float:
    """Of the packs that were begun again: durable steps before, less those that they went on from, in cadences."""
    with Ledger.open(home, create=False) as ledger:
        study_id = ledger.list_studies()[0][0].id
        packs = ledger.packs(study_id)
    cadence = {pack.pack_id: int(pack.plan["checkpoint_steps"]) for pack in packs}
    saved = {pack.pack_id: int((pack.checkpoint or {"step": 0})["step"]) for pack in packs}
    return max((pack.step - saved[pack.pack_id]) / cadence[pack.pack_id] for pack in packs)


def _study(home: Path) -> str:
    with Ledger.open(home, create=False) as ledger:
        return ledger.list_studies()[0][0].id


def _events(home: Path, after: int = 0) -> list[EventRow]:
    found: list[EventRow] = []
    with suppress(PlaceError, IndexError), Ledger.open(home, create=False) as ledger:
        study_id = ledger.list_studies()[0][0].id
        while page := ledger.events(study_id, after=found[-1].seq if found else after):
            found += page
    return found


def _next_progress(home: Path, after: int) -> list[EventRow]:
    # What was under way when a process was killed may still be committed: only what follows a new start counts.
    seen = after or max((event.seq for event in _events(home)), default=0)

    def progress() -> list[EventRow]:
        events = _events(home, seen)
        if after:
            kinds = [event.kind for event in events]
            if EventKind.PACK_STARTED not in kinds:
                return []
            events = events[kinds.index(EventKind.PACK_STARTED) :]
        at = next((number for number, event in enumerate(events) if event.kind is EventKind.PACK_PROGRESS), None)
        return [] if at is None else events[: at + 1]

    return _until(progress)


def _share_done(home: Path) -> float:
    with suppress(PlaceError, IndexError), Ledger.open(home, create=False) as ledger:
        study = ledger.list_studies()[0][0]
        return study.counts["done"] / study.total
    return 0.0


def _until(ask: Callable[[], T]) -> T:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if found := ask():
            return found
        time.sleep(0.2)
    raise TimeoutError(f"nothing within {WAIT_S:.0f} s")

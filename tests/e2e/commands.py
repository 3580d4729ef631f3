"""How an end-to-end test runs the command, looks into its home, and finds the processes that it has left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from ruamel.yaml import YAML

from schemas.errors import PlaceError
from tests.e2e import crashing
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventRow, StudyRow

COMMAND = str(Path(sys.executable).parent / "warmup-bench")
WAIT_S = 900.0
"""A bound against hanging alone: three such tests at once may share two cores with others."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what would change a command's places."""
    ours = ("WARMUP_BENCH_", "MLFLOW_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"OMP_NUM_THREADS": "1"} | more


def command(*arguments: object, cwd: Path, **more: str) -> Ended:
    """Run `warmup-bench` to its end."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def hear_ctrl_c() -> None:
    """Take SIGINT again where a shell lets its background jobs ignore it: their children would ignore it as well."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def paced(pace: Path | None) -> tuple[list[str], dict[str, str]]:
    """`warmup-bench` and its environment. `pace`: a file; while it is there, training is slow (see crashing)."""
    if pace is None:
        return [COMMAND], environment()
    pace.touch()
    return [sys.executable, "-P", crashing.__file__, "command"], environment(**{crashing.PACE: str(pace)})


@contextmanager
def started(*arguments: object, cwd: Path, pace: Path | None = None) -> Iterator["subprocess.Popen[str]"]:
    """`warmup-bench`, running. `pace`: see `paced`."""
    hear_ctrl_c()
    program, its_environment = paced(pace)
    process = subprocess.Popen(
        [*program, *map(str, arguments)],
        cwd=cwd,
        env=its_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=WAIT_S)


def ended(process: "subprocess.Popen[str]") -> Ended:
    """What a started command has said by its end."""
    out, err = process.communicate(timeout=WAIT_S)
    return Ended(process.returncode, out, err)


def as_file(document: dict[str, Any], path: Path) -> Path:
    """Write a study document."""
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(document, stream)
    return path


def only_study(home: Path) -> StudyRow:
    """The one study of a home."""
    with Ledger.open(home, create=False) as ledger:
        (row,), _ = ledger.list_studies()
        return row


def events_of(home: Path) -> list[EventRow]:
    """All events of the one study of a home; none while there is no study, or no ledger yet."""
    with suppress(PlaceError), Ledger.open(home, create=False) as ledger:
        rows, _ = ledger.list_studies()
        return all_events(ledger, rows[0].id) if rows else []
    return []


def all_events(ledger: Ledger, study_id: str) -> list[EventRow]:
    """All events of a study."""
    found: list[EventRow] = []
    while page := ledger.events(study_id, after=found[-1].seq if found else 0):
        found += page
    return found


def wait_for(what: Callable[[], Any], why: str, timeout_s: float = WAIT_S) -> Any:
    """The first true answer.

    Raises:
        AssertionError: there was none in time.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {timeout_s:.0f} s for {why}")


def processes_of(study_id: str) -> dict[int, str]:
    """Process id -> command line of every living process that carries the study's mark."""
    mark = f"WARMUP_BENCH_RUN={study_id}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(folder.name)] = line
        except OSError:
            continue  # gone meanwhile, or another user's
    return {pid: line for pid, line in found.items() if line}


def table_bytes(folder: Path, *, without: tuple[str, ...] = ("timings", "trials")) -> dict[str, bytes]:
    """Table -> the bytes of its file, but for those that tell times and ids of their own."""
    return {path.stem: path.read_bytes() for path in sorted(folder.glob("*.parquet")) if path.stem not in without}


def num_rows_by_trial(folder: Path, table: str) -> dict[str, int]:
    """Trial id -> rows of a table of a result folder."""
    ids = pq.read_table(folder / f"{table}.parquet", columns=["trial_id"])["trial_id"].to_pylist()
    return {trial_id: ids.count(trial_id) for trial_id in set(ids)}

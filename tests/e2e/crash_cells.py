"""Runs a small study with faults, and compares what comes out with the same study in peace."""

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e import crashing
from tests.e2e.commands import Ended, as_file, command, environment, only_study, processes_of, table_bytes
from tests.e2e.specs import analytic
from workers.ledger.ledger import Ledger
from workers.places import Places
from workers.results.verifying import check_records

NUM_STEPS = 2_000
LEFT_S = 30.0
"""So long after its end a process that carries the study's mark may live."""
ENDS_THE_DRIVER = ("driver", "ray", "raylet", "gcs_server")
"""Victims after which the study needs another driver."""
GOES_ON = "the same command continues"
Fault = tuple[str, str]
"""Victim, moment."""


@dataclass
class Outcome:
    """What became of a study with faults."""

    ended: Ended
    struck: list[Fault]
    seconds: float
    num_lost_rays: int
    """Times that a driver began after one whose Ray was killed."""
    problems: list[str] = field(default_factory=list)
    """What differs from the study in peace, a line each."""


def in_peace(folder: Path, num_steps: int = NUM_STEPS) -> dict[str, bytes]:
    """The tables of the undisturbed study."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = as_file(analytic(num_steps), folder / "study.yaml")
    flags = ("--workers", "1", "--tracking-uri", "none")
    ended = command("run", spec, "--home", "peace", "--out", "peace-out", *flags, cwd=folder)
    assert ended.status == 0, ended.err
    return table_bytes(folder / "peace-out")


def with_faults(
    folder: Path,
    faults: list[Fault],
    peace: dict[str, bytes],
    *,
    num_steps: int = NUM_STEPS,
    tracking_uri: str | None = None,
    timeout_s: float = 900.0,
    **more: str,
) -> Outcome:
    """Run the study with these faults, and look at everything afterwards."""
    folder.mkdir(parents=True)
    spec, home, out = as_file(analytic(num_steps), folder / "study.yaml"), folder / "home", folder / "out"
    (folder / "struck").mkdir()
    arguments = ["run", str(spec), "--home", str(home), "--out", str(out), "--workers", "1"]
    arguments += ["--tracking-uri", tracking_uri] if tracking_uri else []
    began, stands = time.monotonic(), -1
    while True:
        done = subprocess.run(
            [sys.executable, "-P", crashing.__file__, "command", *arguments],
            cwd=folder,
            env=environment(**{crashing.FAULTS: json.dumps(faults), crashing.FOLDER: str(folder / "struck")}, **more),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        num_struck = len(list((folder / "struck").glob("*.struck")))
        # Some faults in a row leave no step between them; the command then says that the same command continues.
        if not (done.returncode == 1 and GOES_ON in done.stderr and num_struck > stands):
            break
        stands = num_struck
    struck = [tuple(json.loads(path.read_text())[:2]) for path in sorted((folder / "struck").glob("*.struck"))]
    survivors = [json.loads(path.read_text()) for path in (folder / "struck").glob("*.lives")]
    ended = Ended(done.returncode, done.stdout, done.stderr)
    outcome = Outcome(ended, struck, time.monotonic() - began, len(survivors))  # type: ignore[arg-type]
    if ended.status != 0:
        outcome.problems.append(f"the command ended with status {ended.status}: {ended.err.strip()[-800:]}")
        return outcome
    if struck != faults:
        outcome.problems.append(f"struck: {struck}, asked for {faults}")
    outcome.problems += [f"lived when the next driver started its Ray: {line}" for lines in survivors for line in lines]
    if only_study(home).publishing == "behind":  # a server that was killed, on a busy machine: as the command says
        command("sync", only_study(home).id, "--home", home, *(arguments[-2:] if tracking_uri else []), cwd=folder)
    outcome.problems += _differences(home, out, peace) + _left(home)
    needed = 1 + sum(victim in ENDS_THE_DRIVER for victim, _ in faults)
    if (attempt := only_study(home).attempt) > needed:
        outcome.problems.append(f"{attempt} drivers, where the faults explain {needed}")
    if tracking_uri is None:
        outcome.problems += doubled_in(home / "mlflow.sqlite", only_study(home).id)
    return outcome


def _differences(home: Path, out: Path, peace: dict[str, bytes]) -> list[str]:
    tables = table_bytes(out)
    problems = [f"{table}: other bytes than in peace" for table in peace if tables.get(table) != peace[table]]
    places = Places.resolve(home=str(home), tracking_uri="none", environment={})
    with Ledger.open(home, create=False) as ledger:
        study = ledger.study(only_study(home).id)
        if (str(study.state), study.publishing) != ("done", "current"):
            problems.append(f"the study is {study.state}, publishing {study.publishing}")
        problems += check_records(ledger, study.id, places).findings
        named = {row["name"] for rows in ledger.manifests(study.id).values() for row in rows}
    root = home / "records"
    there = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    return problems + [f"left behind: {name}" for name in sorted(there - named)]


def _left(home: Path) -> list[str]:
    study_id, deadline = only_study(home).id, time.monotonic() + LEFT_S
    while (left := processes_of(study_id)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return [f"still runs: {line}" for line in left.values()]


def doubled_in(store: Path, study_id: str) -> list[str]:
    """Runs of one key, and points of one run, key and step, of which there are several."""
    with closing(sqlite3.connect(store)) as connection:
        runs = connection.execute(
            "select value, count(*) from tags join runs using (run_uuid) where key = 'warmup_bench.key'"
            " and lifecycle_stage = 'active' and value like ? || '%' group by value",
            (study_id,),
        ).fetchall()
        points = connection.execute(
            "select run_uuid, key, step, count(*) from metrics group by run_uuid, key, step having count(*) > 1"
        ).fetchall()
    problems = [f"MLflow: {len(runs)} runs of 8 trials and the study"] if len(runs) != 9 else []
    problems += [f"MLflow: {count} runs of {key}" for key, count in runs if count > 1]
    return problems + [f"MLflow: {count} points {key} at {step} of {run}" for run, key, step, count in points]

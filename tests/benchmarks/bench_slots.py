"""A driver with 10 to 1,000 slots whose trainers sleep, up to 100,000 trials: what it costs, where it stops scaling."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from commands import on_two_cores
from specs import one_step

from schemas.study import parse_study
from tests.e2e.commands import all_events
from workers.data import scan
from workers.launcher import child_environment, ray_environment
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind
from workers.planning import expand_trials
from workers.studies import create_study, publish_data

RUNS = {10: 2_000, 100: 20_000, 1_000: 100_000}
"""Slots -> trials."""
PACK_S = 5.0
"""Sleep of one pack, in turns of about a second."""


def main(runs: dict[int, int] = RUNS) -> dict[str, float]:
    """Per number of slots: driver CPU per trial, reports per second, memory, share of the time that slots work."""
    on_two_cores()
    figures: dict[str, float] = {}
    for num_slots, num_trials in runs.items():
        with TemporaryDirectory(prefix="bench-") as name:
            measured = _run(Path(name) / "home", num_slots, num_trials)
        for key, value in measured.items():
            figures[f"{key}_{num_slots}_slots"] = value
            sys.stdout.write(f"{num_slots:6} slots  {key:32} {value:12.3f}\n")
            sys.stdout.flush()
    return figures


def _run(home: Path, num_slots: int, num_trials: int) -> dict[str, float]:
    study = parse_study(one_step(num_trials))
    with Ledger.open(home) as ledger:
        publish_data(ledger, home / "data")
        row = create_study(ledger, study, expand_trials(study, {facts.kind: facts for facts in scan(None)}))
    driver = Path(__file__).with_name("sleeping_driver.py")
    command = [sys.executable, "-P", str(driver), str(num_slots), str(PACK_S), "--study", row.id, "--home", str(home)]
    with (home / "driver.log").open("w") as log:
        done = subprocess.run(
            command, env=child_environment(row.id) | ray_environment(), stdout=subprocess.PIPE, stderr=log, text=True,
            check=False,
        )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError((home / "driver.log").read_text()[-3_000:])
    said = json.loads(done.stdout.splitlines()[-1])
    return _figures(home, row.id, num_slots, said)


def _figures(home: Path, study_id: str, num_slots: int, said: dict[str, Any]) -> dict[str, float]:
    with Ledger.open(home, create=False) as ledger:
        events = all_events(ledger, study_id)
        num_trials, num_packs = ledger.counts(study_id)["done"], len(ledger.packs(study_id))
    started = [event.at.timestamp() for event in events if event.kind is EventKind.PACK_STARTED]
    ended = [event.at.timestamp() for event in events if event.kind is EventKind.PACK_DONE]
    assert len(ended) == num_packs
    feeding_s = max(ended) - min(started)
    writes = [event for event in events if event.kind in (EventKind.PACK_PROGRESS, EventKind.PACK_DONE)]
    # Had nobody waited for the driver, each slot would have slept through its packs one after the other.
    ideal_s = -(-num_packs // num_slots) * PACK_S
    return {
        "trials": num_trials,
        "packs": num_packs,
        "driver_cpu_ms_per_trial": 1e3 * said["cpu_s"] / num_trials,
        "reports_per_s": len(writes) / feeding_s,
        "events_per_s": len(events) / feeding_s,
        "efficiency": ideal_s / feeding_s,
        "feeding_s": feeding_s,
        "driver_mb": said["max_rss_mb"],
        "ledger_mb": sum(path.stat().st_size for path in home.glob("ledger.sqlite*")) / 1e6,
    }

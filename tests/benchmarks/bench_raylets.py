"""The same trials on the same trainers, whose nodes are 1, 2 or 4 raylets: what more nodes cost."""

import secrets
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from commands import on_two_cores
from specs import digits_sgd

from schemas.study import parse_study
from workers.data import scan
from workers.launcher import child_environment
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind
from workers.places import LEDGER
from workers.planning import expand_trials
from workers.studies import create_study, publish_data

NUM_TRAINERS = 4
NUM_NODES = (1, 2, 4)
NUM_STEPS, NUM_SEEDS = 200, 16
NUM_ROUNDS = 2
RAYLETS = Path(__file__).resolve().parents[1] / "cluster" / "raylets.py"


def main() -> dict[str, float]:
    """Trials a second by number of raylets, and the least of them against one raylet; medians of interleaved rounds."""
    on_two_cores()
    found: dict[int, list[float]] = {count: [] for count in NUM_NODES}
    for number in range(NUM_ROUNDS):
        for count in NUM_NODES if number % 2 == 0 else reversed(NUM_NODES):
            with TemporaryDirectory(prefix="bench-") as name:
                found[count].append(_trials_per_s(Path(name), count))
            sys.stdout.write(f"{count} raylets: {found[count][-1]:.2f} trials a second\n")
            sys.stdout.flush()
    medians = {count: statistics.median(values) for count, values in found.items()}
    figures = {f"trials_per_s_{count}_raylets": value for count, value in medians.items()}
    figures["least_efficiency"] = min(medians.values()) / medians[1]
    return figures


def _trials_per_s(folder: Path, num_nodes: int) -> float:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    environment = child_environment() | token | {"PYTHONPATH": str(RAYLETS.parents[2])}
    with (folder / "raylets.log").open("w") as log:
        cluster = subprocess.Popen(
            [sys.executable, "-P", str(RAYLETS), str(num_nodes), str(NUM_TRAINERS // num_nodes)],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    assert cluster.stdout is not None
    try:
        address = cluster.stdout.readline().split()[0]
        return _driven(folder / "home", environment | {"RAY_ADDRESS": address})
    finally:
        cluster.communicate("end\n", timeout=120)


def _driven(home: Path, environment: dict[str, str]) -> float:
    study = parse_study(digits_sgd(NUM_STEPS, NUM_SEEDS))
    with Ledger.open(home) as ledger:
        publish_data(ledger, home / "data")
        row = create_study(ledger, study, expand_trials(study, {facts.kind: facts for facts in scan(None)}))
    places = {"WARMUP_BENCH_HOME": str(home), LEDGER: str(home / "ledger.sqlite"), "MLFLOW_TRACKING_URI": "none"}
    command = [sys.executable, "-P", "-m", "workers.cluster", "--study", row.id, "--cluster"]
    with (home / "driver.log").open("w") as log:
        done = subprocess.run(
            command, env=environment | places, stdout=log, stderr=log, cwd=home, check=False, stdin=subprocess.DEVNULL
        )
    if done.returncode:
        raise RuntimeError((home / "driver.log").read_text()[-3_000:])
    with Ledger.open(home, create=False) as ledger:
        packs = ledger.packs(row.id)
        events = ledger.events(row.id, limit=100_000)
    started = [event.at.timestamp() for event in events if event.kind is EventKind.PACK_STARTED]
    ended = [event.at.timestamp() for event in events if event.kind is EventKind.PACK_DONE]
    assert len(ended) == len(packs) >= NUM_TRAINERS
    return row.total / (max(ended) - min(started))

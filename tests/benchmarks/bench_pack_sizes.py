"""Which pack size is best for quickstart's classifier: trial-steps per second by size, for sgd and adamw.

What workers/planning/pack_sizes.json says for the CPU rests on this. Sizes are taken in turns, so that a disturbance
of the machine meets all of them.
"""

import statistics
import sys
import time

from packs_in_process import trials_of
from specs import quickstart

from schemas.trials import Member, PackTask, TrialSpec
from workers.data import load
from workers.science.datasets import DataArrays
from workers.science.trainer import PackTrainer

SIZES = (1, 2, 4, 8, 14, 16, 20, 28, 32, 35, 56, 64)
NUM_STEPS = 60
REPEATS = 5


def main(num_steps: int = NUM_STEPS, repeats: int = REPEATS) -> dict[str, float]:
    """Best of the repeats by size: a machine can only be disturbed into being slower."""
    document = quickstart()
    document["probes"] = []
    document["workloads"][0]["budget"] = {"steps": 10 * num_steps}
    document["schedules"] = document["schedules"][:2]
    trials, _ = trials_of(document)
    data = _arrays(trials[0])
    rates: dict[str, list[float]] = {}
    for optimizer in ("sgd", "adamw"):
        mine = [trial for trial in trials if trial.names[1] == optimizer]
        # Small rates only: a trial that diverges is frozen, and costs the same, but its neighbours should all train.
        mine = sorted(mine, key=lambda trial: trial.peak_lr)[: max(SIZES)]
        trainers = {size: _trainer(mine[:size], data) for size in SIZES}
        for trainer in trainers.values():
            trainer.run_chunk(5)
        for _ in range(repeats):
            for size, trainer in trainers.items():
                began = time.perf_counter()
                trainer.run_chunk(num_steps)
                rate = size * num_steps / (time.perf_counter() - began)
                rates.setdefault(f"{optimizer}_{size}", []).append(rate)
    figures = {f"trial_steps_per_s_{name}": max(found) for name, found in rates.items()}
    for name, found in rates.items():
        sys.stdout.write(f"{name:10} best {max(found):10,.0f}  median {statistics.median(found):10,.0f} steps/s\n")
    return figures


def _trainer(trials: list[TrialSpec], data: DataArrays) -> PackTrainer:
    members = tuple(Member(slot, trial) for slot, trial in enumerate(trials))
    return PackTrainer(PackTask(pack_id="0" * 20, size=len(trials), members=members), data)


def _arrays(trial: TrialSpec) -> DataArrays:
    arrays = load(trial.workload.dataset, None)
    names = ("train_x", "train_y", "validation_x", "validation_y", "test_x", "test_y")
    return DataArrays(*(getattr(arrays, name) for name in names), num_classes=arrays.num_classes, sha256=arrays.sha256)

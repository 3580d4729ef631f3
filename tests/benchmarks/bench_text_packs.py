"""Character models in packs of the stored table's size against alone, in CPU seconds of one core: never slower.

What workers/planning/pack_sizes.json says of gpt on the CPU rests on this. The sizes are timed in turns, so that a
disturbance of the machine meets all of them.
"""

import sys
import time

import torch

from schemas.optimizers import AdamW
from schemas.schedules import ConstantDecay, NoWarmup, Schedule
from schemas.trials import Member, PackTask, Seed, TrialSpec
from schemas.workloads import GPT, Budget, CrossEntropy, Evaluation, LanguageModel, PyDoc
from workers.data import facts_of, load, windows
from workers.planning.facts import num_parameters
from workers.planning.packs import table_pack_size
from workers.science.datasets import DataArrays
from workers.science.trainer import PackTrainer

NETS: dict[str, tuple[GPT, int]] = {
    "1x16": (GPT(kind="gpt", layers=1, heads=2, width=16, context=16), 8),
    "2x32": (GPT(kind="gpt", layers=2, heads=2, width=32, context=32), 16),
    "2x64": (GPT(kind="gpt", layers=2, heads=4, width=64, context=64), 16),
}
"""Layers x width -> the model, and windows in a batch."""
NUM_STEPS, REPEATS = 48, 5
STEPS_BEFORE = 20
"""Made before the clock runs: by then the graph is traced."""


def main(repeats: int = REPEATS) -> dict[str, float]:
    """`times_faster_NET`: CPU seconds of a trial-step alone over those in a pack of the table's size, best of each."""
    torch.set_num_threads(1)
    figures = {}
    for name, (model, batch_size) in NETS.items():
        workload = LanguageModel(
            task="language_model",
            model=model,
            dataset=PyDoc(kind="pydoc"),
            loss=CrossEntropy(kind="cross_entropy"),
            batch_size=batch_size,
            budget=Budget(steps=10**6),
            evaluation=Evaluation(every_steps=10**6),
        )
        size = table_pack_size("cpu", "gpt", num_parameters(workload, facts_of(workload.dataset, None)))
        seconds = _seconds(workload, sorted({1, size, 2 * size}), repeats)
        figures[f"pack_size_{name}"] = float(size)
        figures[f"times_faster_{name}"] = seconds[1] / seconds[size]
        for each, found in seconds.items():
            figures[f"ms_{name}_{each}"] = 1e3 * found
            sys.stdout.write(f"gpt {name:6} {each:3} a pack: {1e3 * found:7.2f} ms a trial-step\n")
    figures["times_faster_least"] = min(value for name, value in figures.items() if name.startswith("times_faster_"))
    return figures


def _seconds(workload: LanguageModel, sizes: list[int], repeats: int) -> dict[int, float]:
    text = load(workload.dataset, None)
    data = DataArrays(**windows(text, workload.model.context), num_classes=text.num_classes, sha256=text.sha256)
    trainers, best = {size: _trainer(workload, size, data) for size in sizes}, dict.fromkeys(sizes, float("inf"))
    for trainer in trainers.values():
        trainer.run_chunk(STEPS_BEFORE)
    for _ in range(repeats):
        for size, trainer in trainers.items():
            steps = max(2, NUM_STEPS // size)
            began = time.process_time()
            trainer.run_chunk(steps)
            best[size] = min(best[size], (time.process_time() - began) / (steps * size))
    return best


def _trainer(workload: LanguageModel, size: int, data: DataArrays) -> PackTrainer:
    schedule = Schedule(warmup=NoWarmup(kind="none"), decay=ConstantDecay(kind="constant"))
    trials = [
        TrialSpec(workload, AdamW(kind="adamw"), schedule, 1e-3, Seed(initialization=i, data_order=i, noise=i))
        for i in range(size)
    ]
    members = tuple(Member(slot, trial) for slot, trial in enumerate(trials))
    return PackTrainer(PackTask(pack_id="0" * 20, size=size, members=members), data)

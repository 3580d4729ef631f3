"""Nets for images in packs of the stored table's size against alone, in CPU seconds of one core: never slower.

What workers/planning/pack_sizes.json says of resnet and vit on the CPU rests on this. The images are made up, as large
as those of CIFAR-10 and Fashion-MNIST; the sizes are timed in turns, so that a disturbance of the machine meets all.
"""

import sys
import time

import numpy as np
import torch

from schemas.optimizers import SGD
from schemas.schedules import ConstantDecay, NoWarmup, Schedule
from schemas.trials import Member, PackTask, Seed, TrialSpec
from schemas.workloads import CIFAR10, Budget, Classification, CrossEntropy, Evaluation, Model, ResNet, ViT
from workers.planning.networks import counts
from workers.planning.packs import table_pack_size
from workers.science.datasets import DataArrays
from workers.science.trainer import PackTrainer

NETS: dict[str, tuple[Model, tuple[int, int, int]]] = {
    "resnet_2_on_32x32": (ResNet(kind="resnet", depth=8, width=2, groups=2), (3, 32, 32)),
    "resnet_4_on_32x32": (ResNet(kind="resnet", depth=8, width=4, groups=4), (3, 32, 32)),
    "vit_32_on_28x28": (ViT(kind="vit", patch=7, depth=2, width=32), (1, 28, 28)),
    "vit_64_on_28x28": (ViT(kind="vit", patch=7, depth=2, width=64), (1, 28, 28)),
    "vit_64_on_32x32": (ViT(kind="vit", patch=4, depth=4, width=64), (3, 32, 32)),
}
NUM_STEPS, REPEATS, BATCH_SIZE = 4, 5, 32
STEPS_BEFORE = 20
"""Made before the clock runs: by then the graph is traced."""


def main() -> dict[str, float]:
    """`times_faster_NET`: CPU seconds of a trial-step alone over those in a pack of the table's size, best of each."""
    torch.set_num_threads(1)
    figures = {}
    for name, (model, shape) in NETS.items():
        size = table_pack_size("cpu", model.kind, counts(model, shape, 10).parameters)
        seconds = _seconds(model, shape, sorted({1, size, *((4,) if size == 1 else ())}))
        figures[f"pack_size_{name}"] = float(size)
        figures[f"times_faster_{name}"] = seconds[1] / seconds[size]
        for each, found in seconds.items():
            figures[f"ms_{name}_{each}"] = 1e3 * found
            sys.stdout.write(f"{name:20} {each:3} a pack: {1e3 * found:7.2f} ms a trial-step\n")
    figures["times_faster_least"] = min(value for name, value in figures.items() if name.startswith("times_faster_"))
    return figures


def _seconds(model: Model, shape: tuple[int, int, int], sizes: list[int]) -> dict[int, float]:
    workload = Classification(
        task="classification",
        model=model,
        dataset=CIFAR10(kind="cifar10"),
        loss=CrossEntropy(kind="cross_entropy"),
        batch_size=BATCH_SIZE,
        budget=Budget(steps=10**6),
        evaluation=Evaluation(every_steps=10**6),
    )
    data, best = _made_up(shape), dict.fromkeys(sizes, float("inf"))
    trainers = {size: _trainer(workload, size, data) for size in sizes}
    for trainer in trainers.values():
        trainer.run_chunk(STEPS_BEFORE)
    for _ in range(REPEATS):
        for size, trainer in trainers.items():
            began = time.process_time()
            trainer.run_chunk(NUM_STEPS)
            best[size] = min(best[size], (time.process_time() - began) / (NUM_STEPS * size))
    return best


def _trainer(workload: Classification, size: int, data: DataArrays) -> PackTrainer:
    schedule = Schedule(warmup=NoWarmup(kind="none"), decay=ConstantDecay(kind="constant"))
    trials = [
        TrialSpec(
            workload=workload,
            optimizer=SGD(kind="sgd", momentum=0.9),
            schedule=schedule,
            peak_lr=1e-3,
            seed=Seed(initialization=number, data_order=number, noise=number),
        )
        for number in range(size)
    ]
    members = tuple(Member(slot, trial) for slot, trial in enumerate(trials))
    return PackTrainer(PackTask(pack_id="0" * 20, size=size, members=members), data)


def _made_up(shape: tuple[int, int, int]) -> DataArrays:
    random = np.random.default_rng(0)

    def part(size: int) -> tuple[np.ndarray, np.ndarray]:
        return random.integers(0, 256, (size, *shape)).astype(np.uint8), random.integers(0, 10, size)

    parts = [array for size in (256, 32, 32) for array in part(size)]
    statistics = ((0.5,) * shape[0], (0.3,) * shape[0])
    return DataArrays(*parts, num_classes=10, sha256=f"made up {shape}", pixels=statistics)

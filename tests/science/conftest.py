"""Small packs for the tests of the training loop: a made-up data set, specs with short defaults, and a runner."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from schemas.optimizers import SGD
from schemas.schedules import ConstantDecay, LinearWarmup, NoWarmup, Schedule
from schemas.trials import Member, PackTask, Seed, TrialSpec
from schemas.workloads import MLP, Budget, Classification, CrossEntropy, Digits, Evaluation
from workers.science.datasets import DataArrays
from workers.science.trainer import PackTrainer

NUM_TRAIN = 70


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def blobs() -> DataArrays:
    """The made-up data set."""
    return make_blobs()


def make_blobs() -> DataArrays:
    """Five classes in 12 dimensions that overlap: 70 to train on (2.2 batches of 32), 30, 20."""
    random = np.random.default_rng(0)
    centers = random.normal(size=(5, 12))

    def part(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = random.integers(0, 5, n)
        return (centers[labels] + random.normal(size=(n, 12))).astype(np.float32), labels

    parts = {name: part(n) for name, n in (("train", NUM_TRAIN), ("validation", 30), ("test", 20))}
    arrays = {f"{name}_{axis}": value for name, pair in parts.items() for axis, value in zip("xy", pair, strict=True)}
    return DataArrays(**arrays, num_classes=5, sha256="blobs")


def seed(number: int) -> Seed:
    return Seed(initialization=number, data_order=number, noise=number)


def schedule(warmup_steps: int = 0, decay: Any = None) -> Schedule:
    linear = LinearWarmup(kind="linear", steps=warmup_steps)
    warmup = linear if warmup_steps else NoWarmup(kind="none")
    return Schedule(warmup=warmup, decay=decay or ConstantDecay(kind="constant"))


def classification(steps: int = 30, **fields: Any) -> Classification:
    defaults: dict[str, Any] = {
        "model": MLP(kind="mlp", widths=(16, 16)),
        "dataset": Digits(kind="digits"),
        "loss": CrossEntropy(kind="cross_entropy"),
        "batch_size": 32,
        "evaluation": Evaluation(every_steps=10),
    }
    return Classification(task="classification", budget=Budget(steps=steps), **(defaults | fields))


def trial(workload: Any = None, optimizer: Any = None, peak_lr: float = 0.1, **fields: Any) -> TrialSpec:
    return TrialSpec(
        workload=workload or classification(),
        optimizer=optimizer or SGD(kind="sgd", momentum=0.9),
        schedule=fields.get("schedule") or schedule(),
        peak_lr=peak_lr,
        seed=fields.get("seed") or seed(0),
    )


def pack(
    *trials: TrialSpec, size: int | None = None, probes: tuple = (), points: Any = None, chunk: int = 7
) -> PackTask:
    members = tuple(Member(slot, spec, points or {}) for slot, spec in enumerate(trials))
    return PackTask("pack", size or len(trials), members, probes, chunk_steps=chunk)


def run(task: PackTask, data: DataArrays | None, device: str = "cpu") -> SimpleNamespace:
    """The whole pack: `tables` joined over its chunks, `results` and the trainer."""
    trainer = PackTrainer(task, data, device=device)
    chunks = []
    while not trainer.done:
        chunks.append(trainer.run_chunk())
    return SimpleNamespace(trainer=trainer, tables=joined(chunks), results=trainer.results(), chunks=chunks)


def joined(chunks: list[Any]) -> dict[str, dict[str, np.ndarray]]:
    """Table -> column -> array over all chunks, by trial (in the order of the pack) and step."""
    tables = {}
    place = {trial_id: i for i, trial_id in enumerate(dict.fromkeys(chunks[0].tables["steps"]["trial_id"]))}
    for table in chunks[0].tables:
        parts = [chunk.tables[table] for chunk in chunks]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        keys = [place[trial_id] for trial_id in columns["trial_id"]]
        order = np.lexsort((columns["step"], keys)) if "step" in columns else np.arange(len(keys))
        tables[table] = {name: column[order] for name, column in columns.items()}
    return tables


def of_trial(table: dict[str, np.ndarray], trial_id: str, column: str) -> np.ndarray:
    """A column of one trial, in step order."""
    return table[column][table["trial_id"] == trial_id]


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """The helpers of this file, by name."""
    helpers: dict[str, Callable[..., Any]] = {
        "seed": seed,
        "schedule": schedule,
        "classification": classification,
        "trial": trial,
        "pack": pack,
        "run": run,
        "joined": joined,
        "of_trial": of_trial,
    }
    return SimpleNamespace(**helpers)

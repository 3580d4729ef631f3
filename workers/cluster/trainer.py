"""The trainer actor: one long-lived process per core or GPU slot, one intra-op thread, a pack at a time."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from workers.cluster.facts import trainer_facts
from workers.cluster.orders import PackOrder, Progress, TrainerFacts
from workers.cluster.origins import package_origins


class Trainer:
    """Wraps a PackRunner; torch is imported here and in no other process."""

    def __init__(
        self, records_root: str, data_dir: str | None, device: str, origins: dict[str, str], plugins: list[str]
    ) -> None:
        found = package_origins()
        if found != origins:
            raise RuntimeError(f"packages come from {found}, the driver's from {origins}: a folder hides them")
        import torch

        torch.set_num_threads(1)
        from workers.cluster.pack_runner import PackRunner
        from workers.plugins import use_files

        use_files(plugins)
        self._device = device
        self._runner = PackRunner(records_root, Path(data_dir) if data_dir else None)

    def facts(self) -> TrainerFacts:
        """What decides the bits on this machine."""
        return trainer_facts(self._device)

    def advance(self, order: PackOrder | None, turn_s: float, save: bool = False) -> Progress:
        """See PackRunner.advance."""
        return self._runner.advance(order, turn_s, save=save)

    def pid(self) -> int:
        """The process id of this actor."""
        return os.getpid()


def start_trainer(
    records_root: str, data_dir: str | None, device: str, gpus_per_trainer: float, plugins: Sequence[str] = ()
) -> Any:
    """A new actor handle. Not restarted by Ray: the ledger decides what runs again.

    Its environment is the driver's (see local_ray), the mark WARMUP_BENCH_RUN included.
    """
    actor = ray.remote(Trainer).options(
        num_cpus=1,
        num_gpus=gpus_per_trainer if device == "cuda" else 0,
        max_restarts=0,
        max_task_retries=0,
    )
    return actor.remote(records_root, data_dir, device, package_origins(), list(plugins))

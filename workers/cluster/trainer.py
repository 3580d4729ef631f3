"""The trainer actor: one long-lived process per core or GPU slot, one intra-op thread, a pack at a time."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from schemas.errors import PlaceError
from workers.cluster.facts import trainer_facts
from workers.cluster.orders import Greeting, PackOrder, Progress
from workers.cluster.origins import package_origins


class Trainer:
    """Wraps a PackRunner; torch is imported here and in no other process."""

    def __init__(
        self,
        records_root: str,
        data_dir: str | None,
        device: str,
        origins: dict[str, str],
        plugins: list[str],
        records_token: str | None = None,
    ) -> None:
        """`records_token`: what lies at the driver's place of the records, where trainers run on several nodes."""
        self._greeting = self._find_problem(records_root, origins, plugins, records_token)
        if self._greeting is not None:
            return
        import torch

        torch.set_num_threads(1)
        from workers.cluster.pack_runner import PackRunner
        from workers.data.node_cache import node_cache
        from workers.plugins import use_files

        use_files(plugins)
        self._device = device
        cache = node_cache() if records_token is not None else None
        self._runner = PackRunner(records_root, Path(data_dir) if data_dir else None, cache)

    def greet(self) -> Greeting:
        """What decides the bits on this machine, and whether this trainer can be used."""
        if self._greeting is None:
            try:
                self._greeting = Greeting(trainer_facts(self._device), _node_id())
            except (AssertionError, RuntimeError) as error:  # torch has no such device here
                self._greeting = Greeting(None, _node_id(), f"device {self._device}: {error}")
        return self._greeting

    def advance(self, order: PackOrder | None, turn_s: float, save: bool = False) -> Progress:
        """See PackRunner.advance."""
        return self._runner.advance(order, turn_s, save=save)

    def pid(self) -> int:
        """The process id of this actor."""
        return os.getpid()

    @staticmethod
    def _find_problem(
        records_root: str, origins: dict[str, str], plugins: list[str], records_token: str | None
    ) -> Greeting | None:
        found = package_origins()
        if found != origins:
            problem = f"packages come from {found}, the driver's from {origins}: a folder hides them"
            return Greeting(None, _node_id(), problem)
        if records_token is None:
            return None
        if missing := [path for path in plugins if not Path(path).is_file()]:
            return Greeting(None, _node_id(), f"--plugin: there is no file {', '.join(missing)}")
        problem = _problem_of_records(records_root, records_token)
        return Greeting(None, _node_id(), problem, is_of_records=True) if problem else None


def _problem_of_records(root: str, token: str) -> str:
    from workers.records.places import open_place
    from workers.shared_records import TOKEN_FILE, token_in

    try:
        found = token_in(open_place(root))
    except PlaceError as error:
        return str(error)
    if found is None:
        return f"{root}: no file {TOKEN_FILE} there"
    return "" if found == token else f"{root}: another place than the driver's"


def _node_id() -> str:
    return ray.get_runtime_context().get_node_id()


def start_trainer(
    records_root: str,
    data_dir: str | None,
    device: str,
    gpus_per_trainer: float,
    plugins: Sequence[str] = (),
    records_token: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """A new actor handle. Not restarted by Ray: the ledger decides what runs again.

    Its environment is the driver's (see local_ray), the mark WARMUP_BENCH_RUN included; on another node, where the
    driver's is not known, `options` (of Ray) say it.
    """
    actor = ray.remote(Trainer).options(
        num_cpus=1,
        num_gpus=gpus_per_trainer if device == "cuda" else 0,
        max_restarts=0,
        max_task_retries=0,
        **(options or {}),
    )
    return actor.remote(records_root, data_dir, device, package_origins(), list(plugins), records_token)

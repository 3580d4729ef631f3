"""Where the trainers of a driver run: on this machine, on a Ray of its own or one that it shares; or on a cluster."""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import ray

from schemas.errors import PlaceRefused, Problem
from workers import marks
from workers.cards import cards
from workers.cluster.asking import Asked
from workers.cluster.attached_ray import attached_ray
from workers.cluster.cluster_ray import cluster_ray
from workers.cluster.demand import Demand, Room
from workers.cluster.facts import TRAINER_ENVIRONMENT
from workers.cluster.fitness import CannotRun, Fitness, Nodes
from workers.cluster.local_ray import BackgroundRay, local_ray
from workers.cluster.orders import TrainerFacts
from workers.cluster.sharing import Share
from workers.cluster.trainer import start_trainer
from workers.cores import num_cores
from workers.places import Places

TRAINERS_PER_GPU, MAX_TRAINERS = "WARMUP_BENCH_TRAINERS_PER_GPU", "WARMUP_BENCH_MAX_TRAINERS"
MAX_GPUS = "WARMUP_BENCH_MAX_GPUS"
"""GPUs that an autoscaler may bring. Ray's own (2.60, KubeRay's too) reports nowhere what it may bring: without this
and MAX_TRAINERS no driver knows that a cluster can grow."""
NODE_ID = "ray.io/node-id"
"""The label that Ray gives each node."""


class Ground(Protocol):
    """What a driver asks of where its trainers run."""

    is_shared: bool
    """Whether other studies' trainers run there too."""
    starts_again: bool
    """Whether who started the driver starts it again by itself, once a place can be used that could not."""

    def prepare(self, study_id: str) -> None:
        """Before a Ray is started or attached to, under the lease."""

    def device_before(self, asked: str) -> str | None:
        """cpu or cuda, for `execution.device`; None where that is only known once Ray is up. Raises CannotRun."""

    def device(self, asked: str, planned: str | None) -> str:
        """The same once Ray is up. `planned`: the device class of the plan, where there is one. Raises CannotRun."""

    def ray(self, study_id: str, device: str | None) -> AbstractContextManager[BackgroundRay]:
        """Started, or attached to, in the background."""

    def fitness(self, places: Places, device: str, planned: TrainerFacts | None) -> Fitness:
        """Which trainers can be used. `planned`: what the plan was made for, where there is one."""

    def starter(
        self, study_id: str, places: Places, device: str, records_token: str | None, fitness: Fitness
    ) -> Callable[[], Any]:
        """What starts one trainer."""

    def count(self, share: Share, num_packs: int, num_up: int) -> int:
        """Trainers to have now, for so many packs that wait or are trained, where so many trainers are up."""


class ThisMachine:
    """A Ray on this machine: the driver's own, or that of a host which the drivers of one service share."""

    def __init__(self, workers: int | None = None, host: Path | None = None) -> None:
        """`workers`: trainers; one per core or card by default."""
        self._workers, self._host = workers, host
        self._device = "cpu"
        self.is_shared = self.starts_again = host is not None

    def prepare(self, study_id: str) -> None:
        """End what dead drivers of this study have left."""
        if self._host is None:
            marks.end_rays_of_dead_drivers(study_id)

    def device_before(self, asked: str) -> str:
        """As Ground."""
        if asked == "cuda" and not cards():
            raise CannotRun("execution.device: got cuda, allowed cpu or auto: this machine has no CUDA device")
        self._device = "cuda" if asked != "cpu" and cards() else "cpu"
        return self._device

    def device(self, asked: str, planned: str | None) -> str:
        """As Ground."""
        return self._device

    def ray(self, study_id: str, device: str | None) -> AbstractContextManager[BackgroundRay]:
        """As Ground."""
        if self._host is not None:
            return attached_ray(self._host, f"study-{study_id}")
        return local_ray(self._num_workers(device), _gpus(device))

    def fitness(self, places: Places, device: str, planned: TrainerFacts | None) -> Fitness:
        """Whatever this machine is, there is no other."""
        return Fitness(places.records)

    def starter(
        self, study_id: str, places: Places, device: str, records_token: str | None, fitness: Fitness
    ) -> Callable[[], Any]:
        """As Ground."""
        gpus_each = min(1.0, _gpus(device) / self._num_workers(device))
        plugins = list(map(str, places.plugins))
        return lambda: start_trainer(places.records, str(places.data), device, gpus_each, plugins)

    def count(self, share: Share, num_packs: int, num_up: int) -> int:
        """Its part, whether there are packs or not: a trainer that waits costs nothing here."""
        share.num_workers = self._num_workers(self._device)
        return share.now()

    def _num_workers(self, device: str | None) -> int:
        return self._workers or _gpus(device) or num_cores()


class SeveralNodes:
    """The cluster that this node is part of. Asked only while its Ray is up, but for what it is made with."""

    is_shared = starts_again = True

    def __init__(self, max_trainers: int | None = None, environment: Mapping[str, str] = os.environ) -> None:
        """`max_trainers`: as WARMUP_BENCH_MAX_TRAINERS, the smaller of the two counts.

        Raises:
            PlaceRefused: a variable is no whole number, or too small.
        """
        self._per_gpu = _whole_number(environment, TRAINERS_PER_GPU) or 1
        limits = [limit for limit in (max_trainers, _whole_number(environment, MAX_TRAINERS)) if limit]
        self._max_trainers = min(limits, default=None)
        self._max_gpus = _whole_number(environment, MAX_GPUS) or 0
        self._device = "cpu"
        self._demand = Demand(Asked(self._room, Room(0, 0)).latest, self._max_trainers)

    def prepare(self, study_id: str) -> None:
        """Nothing: what dead drivers have left is the cluster's to end, and looks like what living ones have."""

    def device_before(self, asked: str) -> None:
        """Known by the cluster."""

    def device(self, asked: str, planned: str | None) -> str:
        """As planned; without a plan, cuda where a node has a GPU or may be added that has."""
        if planned is not None:
            self._device = "cpu" if planned == "cpu" else "cuda"
        else:
            has_gpus = asked != "cpu" and self._most("GPU") > 0
            if asked == "cuda" and not has_gpus:
                raise CannotRun(
                    "execution.device: got cuda, allowed cpu or auto: no node of the cluster has a GPU; add one"
                    f" (ray start --num-gpus), or say how many its autoscaler may add ({MAX_GPUS})"
                )
            self._device = "cuda" if has_gpus else "cpu"
        return self._device

    def ray(self, study_id: str, device: str | None) -> AbstractContextManager[BackgroundRay]:
        """As Ground."""
        return cluster_ray(f"study-{study_id}")

    def fitness(self, places: Places, device: str, planned: TrainerFacts | None) -> Fitness:
        """As Ground."""
        own = ray.get_runtime_context().get_node_id()
        return Fitness(places.records, planned, Asked(partial(_nodes, device, own), Nodes(frozenset(), own)).latest)

    def starter(
        self, study_id: str, places: Places, device: str, records_token: str | None, fitness: Fitness
    ) -> Callable[[], Any]:
        """As Ground."""
        environment = TRAINER_ENVIRONMENT | marks.KEPT | {marks.STUDY: study_id}
        plugins = list(map(str, places.plugins))

        def start() -> Any:
            options: dict[str, Any] = {"runtime_env": {"env_vars": environment}}
            if fitness.avoided:
                options["label_selector"] = {NODE_ID: f"!in({','.join(sorted(fitness.avoided))})"}
            gpus_each, data = 1.0 / self._per_gpu, str(places.data)
            return start_trainer(places.records, data, device, gpus_each, plugins, records_token, options)

        return start

    def count(self, share: Share, num_packs: int, num_up: int) -> int:
        """What its packs need, as far as its part goes: see Demand."""
        return self._demand.count(num_packs, num_up, share.num_studies())

    def _room(self) -> Room:
        present, most = _state().cluster_resources(), self._most
        if self._device == "cpu":
            return Room(int(present.get("CPU", 0)), int(most("CPU")))
        per_gpu = self._per_gpu
        return Room(
            int(min(present.get("CPU", 0), present.get("GPU", 0) * per_gpu)),
            int(min(most("CPU"), most("GPU") * per_gpu)),
        )

    def _most(self, resource: str) -> float:
        """Of a resource, what there is or what the autoscaler may bring; the trainers that are allowed say it too."""
        config = _state().get_max_resources_from_cluster_config() or {}
        allowed = self._max_gpus if resource == "GPU" else self._max_trainers or 0
        return max(_state().cluster_resources().get(resource, 0), config.get(resource, 0), allowed)


def _gpus(device: str | None) -> int:
    return len(cards()) if device == "cuda" else 0


def _state() -> Any:
    # Ray's own functions for it would start a Ray where this one has just been let go of.
    return ray._private.state.state


def _nodes(device: str, own: str) -> Nodes:
    needed = ("CPU",) if device == "cpu" else ("CPU", "GPU")
    alive = [node for node in _state().node_table() if node["Alive"]]
    usable = [node["NodeID"] for node in alive if all(node["Resources"].get(name, 0) > 0 for name in needed)]
    return Nodes(frozenset(usable), own)


def _whole_number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise PlaceRefused(str(Problem(name, text, "a whole number from 1 to 100000")))
    return int(text)

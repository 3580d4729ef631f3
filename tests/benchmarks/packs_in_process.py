"""Trains trials in packs of a given size as a worker does (records included), in this process, without Ray."""

import time
from pathlib import Path
from typing import Any

import torch

from schemas.catalog import DatasetFacts
from schemas.study import parse_study
from schemas.trials import Member, PackTask, TrialSpec
from workers.cluster.orders import PackOrder
from workers.cluster.pack_runner import PackRunner
from workers.data import scan
from workers.planning import expand_trials, plan_packs


def trials_of(document: dict[str, Any]) -> tuple[list[TrialSpec], dict[str, DatasetFacts]]:
    """A document's trials, and the facts of the data they need."""
    torch.set_num_threads(1)
    datasets = {facts.kind: facts for facts in scan(None)}
    return expand_trials(parse_study(document), datasets), datasets


def tasks_of(document: dict[str, Any]) -> list[PackTask]:
    """The packs of a document, without probes, as the stored table has them."""
    trials, datasets = trials_of(document)
    by_id = {trial.trial_id: trial for trial in trials}
    return [
        PackTask(
            pack_id=pack.pack_id,
            size=pack.size,
            members=tuple(Member(slot, by_id[trial_id]) for slot, trial_id in enumerate(pack.trial_ids)),
            chunk_steps=pack.chunk_steps,
            checkpoint_steps=pack.checkpoint_steps,
        )
        for pack in plan_packs(trials, datasets, device_class="cpu")
    ]


def train(trials: list[TrialSpec], datasets: dict[str, DatasetFacts], pack_size: int | None, folder: Path) -> float:
    """CPU seconds to train all of them one pack after the other; None takes the size of the stored table.

    Of this process, which has one thread: on a core of its own that is the time it takes, and on a machine that does
    other things too it still is.

    Raises:
        RuntimeError: a pack failed.
    """
    packs = plan_packs(trials, datasets, device_class="cpu", pack_size=pack_size)
    by_id = {trial.trial_id: trial for trial in trials}
    runner = PackRunner(str(folder), None)
    began = time.process_time()
    for pack in packs:
        members = tuple(Member(slot, by_id[trial_id]) for slot, trial_id in enumerate(pack.trial_ids))
        task = PackTask(pack_id=pack.pack_id, size=pack.size, members=members, chunk_steps=pack.chunk_steps)
        progress = runner.advance(PackOrder(task, 1, [], None), 3_600.0)
        if progress.error is not None:
            raise RuntimeError(progress.error)
        assert progress.results is not None
    return time.process_time() - began

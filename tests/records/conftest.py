"""Record stores of both kinds, and chunks to write into them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import numpy as np
import pytest

from workers.records import RecordStore

Chunk = dict[str, dict[str, np.ndarray]]


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A root of each kind: what holds for one must hold for the other."""
    if request.param == "local":
        yield str(tmp_path / "records")
        return
    url = f"memory://records-{uuid4().hex}"
    yield url
    files, path = fsspec.core.url_to_fs(url)
    if files.exists(path):
        files.rm(path, recursive=True)


@pytest.fixture
def store(root: str) -> RecordStore:
    return RecordStore(root, durable=False)


@pytest.fixture
def make_chunk() -> Callable[..., Chunk]:
    return chunk_of


def chunk_of(trial_ids: list[str], first_step: int, num_steps: int) -> Chunk:
    """Steps of every trial (step-major, as a trainer makes them), one event, and tables without rows."""
    steps = np.repeat(np.arange(first_step, first_step + num_steps), len(trial_ids))
    ids = np.array(trial_ids * num_steps)
    losses = np.sin(steps + np.arange(len(steps)) * 0.1)
    empty = np.empty(0)
    return {
        "steps": {
            "trial_id": ids,
            "step": steps,
            "lr": np.full(len(steps), 0.5),
            "train_loss": losses,
            "gradient_norm": np.abs(losses),
            "update_norm": np.where(losses > 0.9, np.nan, losses),
        },
        "evaluations": {
            "trial_id": np.array([], dtype=str),
            "step": np.array([], dtype=np.int64),
            "train_eval_loss": empty,
            "validation_loss": empty,
            "validation_accuracy": empty,
        },
        "events": {
            "trial_id": np.array(trial_ids[-1:]),
            "step": np.array([first_step]),
            "kind": np.array(["stopped"]),
            "values": np.array(['{"gap":"NaN"}']),
        },
    }

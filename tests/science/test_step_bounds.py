"""By how much adamw_w2's bound cut the steps of each matrix, as the events of a trial say it."""

import json

import numpy as np
import pytest
import torch

from schemas.optimizers import AdamW, AdamW2
from workers.science.step_bounds import StepBounds
from workers.science.trainer import PackTrainer

STEPS = 15
MATRICES = ("weight_0", "weight_1", "weight_2")


def told(done):
    events = done.tables["events"]
    return [json.loads(values) for kind, values in zip(events["kind"], events["values"], strict=True) if kind == KIND]


KIND = "step_bounded"


@pytest.fixture
def trials(make):
    """One whose steps are bounded at this rate now and then, and one whose never are."""
    workload = make.classification(STEPS)
    return [make.trial(workload, AdamW2(kind="adamw_w2", tau=tau), 0.03) for tau in (0.08, 1e6)]


def test_it_is_what_the_optimizer_applied_update_by_update(make, trials, blobs):
    trainer, bounds_TNL = PackTrainer(make.pack(*trials), blobs), []
    while not trainer.done:
        events = trainer.run_chunk(1).tables["events"]
        bounds_TNL.append(trainer._loop.optimizer_state["bound"].clone())
    ours = [json.loads(values) for values in events["values"]]
    assert events["kind"].tolist() == [KIND, KIND]
    assert events["step"].tolist() == [STEPS, STEPS]
    bound_TL = torch.stack(bounds_TNL)[:, 0].numpy()
    assert 0 < (bound_TL < 1).any(axis=1).sum() == ours[0]["times"]
    assert ours[0]["least"] == bound_TL.min() < 0.99
    assert ours[0]["mean"] == pytest.approx(bound_TL.mean())
    assert [ours[0][f"mean.{name}"] for name in MATRICES] == pytest.approx(bound_TL.mean(axis=0).tolist())
    means = {f"mean.{name}": 1.0 for name in MATRICES}
    assert ours[1] == {"updates": STEPS, "times": 0, "least": 1.0, "mean": 1.0, **means}


def test_chunks_and_a_checkpoint_do_not_change_what_is_told(make, trials, blobs):
    task = make.pack(*trials, chunk=4)
    whole, first = make.run(task, blobs), PackTrainer(task, blobs)
    first.run_chunk(7)
    state = first.state_dict()
    first.run_chunk()
    second = PackTrainer(task, blobs)
    second.load_state_dict(state)
    chunks = [second.run_chunk()]
    while not second.done:
        chunks.append(second.run_chunk())
    assert chunks[-1].tables["events"]["values"].tolist() == whole.tables["events"]["values"].tolist()


def test_no_other_optimizer_tells_of_a_bound(make, blobs):
    done = make.run(make.pack(make.trial(make.classification(3), AdamW(kind="adamw"), 0.01)), blobs)
    assert told(done) == []


def test_what_is_over_or_not_finite_is_not_counted():
    bounds = StepBounds(["weight"], torch.ones(3, 1, dtype=torch.float64))
    bounds.take(torch.tensor([[0.5], [0.25], [torch.nan]], dtype=torch.float64), torch.tensor([True, False, True]))
    assert bounds.of_slot(0) == {"updates": 1, "times": 1, "least": 0.5, "mean": 0.5, "mean.weight": 0.5}
    for slot in (1, 2):
        said = bounds.of_slot(slot)
        assert (said["updates"], said["times"], said["least"]) == (0, 0, 1.0)
        assert np.isnan(said["mean"])

"""A run that was saved and loaded in another trainer, or another process, is the run that was never interrupted."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from schemas.optimizers import AdamW
from schemas.probes import SecantSmoothness, Sharpness
from schemas.records import names
from schemas.schedules import CosineDecay, GivenOptimum, LinearDecay, Schedule, Signal, SmoothnessLawWarmup
from schemas.trials import ProbePoints
from workers.science.trainer import PackTrainer

pytestmark = pytest.mark.slow

PROBES = (
    SecantSmoothness(kind="secant_smoothness", every_steps=5),
    Sharpness(kind="sharpness", every_steps=10, max_hvps=6),
)
POINTS = {
    "secant_smoothness": ProbePoints(steps=(0, 5, 10, 15, 20, 25)),
    "sharpness": ProbePoints(steps=(0, 10, 20), hvps_allowed=15),
}


def closed_loop():
    """A warmup with memory: an average, a lag, and a length that the run finds."""
    warmup = SmoothnessLawWarmup(
        kind="smoothness_law",
        rule="descent",
        k0=0.0,
        k_rho=6.0,
        optimum=GivenOptimum(kind="given", value=0.0),
        signal=Signal(source="ema", lag=2),
    )
    return Schedule(warmup=warmup, decay=LinearDecay(kind="linear"))


def mixed_pack(make):
    """Open and closed loops, a trial that diverges on the way, a free slot, probes with memory."""
    workload = make.classification(30, divergence_factor=1.5)
    trials = [
        make.trial(workload, AdamW(kind="adamw"), 0.01, schedule=make.schedule(8, CosineDecay(kind="cosine"))),
        make.trial(workload, AdamW(kind="adamw"), 0.14, schedule=closed_loop(), seed=make.seed(1)),
        make.trial(workload, AdamW(kind="adamw"), 3.0, schedule=make.schedule(25), seed=make.seed(2)),
    ]
    return make.pack(*trials, size=4, probes=PROBES, points=POINTS)


def same(ours, theirs):
    if ours.dtype == object:
        return ours.tolist() == theirs.tolist()
    return ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes()


def assert_same_run(make, chunks, results, whole):
    tables = make.joined(chunks)
    for table in ("steps", "evaluations", "probes", "events"):
        assert all(same(tables[table][name], whole.tables[table][name]) for name in names(table)), table
    assert repr(results) == repr(whole.results)


# epochs of 70 examples end inside batches 2, 4, 6 ...; the closed loop's warmup and the divergence lie between
CUTS = (2, 6, 21, 29)
MORE_CUTS = (1, 3, 13)


@pytest.mark.parametrize("cut", [*CUTS, *(pytest.param(cut, marks=pytest.mark.proof) for cut in MORE_CUTS)])
def test_resumed_equals_uninterrupted_bit_for_bit(make, blobs, cut):
    task = mixed_pack(make)
    whole = make.run(task, blobs)
    first = PackTrainer(task, blobs)
    chunks = [first.run_chunk(cut)]
    state = pickle.loads(pickle.dumps(first.state_dict()))
    if not first.done:
        first.run_chunk()  # what happens after the save must not reach the state
    second = PackTrainer(task, blobs)
    second.load_state_dict(state)
    while not second.done:
        chunks.append(second.run_chunk())
    assert_same_run(make, chunks, second.results(), whole)


def test_the_pack_of_these_tests_has_what_they_claim(make, blobs):
    whole = make.run(mixed_pack(make), blobs)
    assert {"diverged", "warmup_ended"} <= set(whole.tables["events"]["kind"])
    assert 3 < whole.results[1].warmup_steps < 29
    assert whole.results[2].outcome_step > 3


def test_the_state_is_flat_arrays_and_json(make, blobs):
    trainer = PackTrainer(mixed_pack(make), blobs)
    trainer.run_chunk()
    state = trainer.state_dict()
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in state.items() if name not in arrays}
    assert json.loads(json.dumps(rest)) == rest
    assert not any(array.dtype == object for array in arrays.values())


@pytest.mark.proof
def test_a_state_is_loaded_in_a_fresh_process(make, blobs, tmp_path):
    task = mixed_pack(make)
    whole = make.run(task, blobs)
    trainer = PackTrainer(task, blobs)
    chunk = trainer.run_chunk(11)
    (tmp_path / "in").write_bytes(pickle.dumps((task, blobs, trainer.state_dict())))
    program = (
        "import pickle, sys, torch\n"
        "from pathlib import Path\n"
        "from workers.science.trainer import PackTrainer\n"
        "torch.set_num_threads(1)\n"
        "task, data, state = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "trainer = PackTrainer(task, data)\n"
        "trainer.load_state_dict(state)\n"
        "chunks = []\n"
        "while not trainer.done:\n"
        "    chunks.append(trainer.run_chunk())\n"
        "Path(sys.argv[2]).write_bytes(pickle.dumps((chunks, trainer.results())))\n"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", program, str(tmp_path / "in"), str(tmp_path / "out")]
    subprocess.run(command, check=True, cwd=root)
    chunks, results = pickle.loads((tmp_path / "out").read_bytes())
    assert_same_run(make, [chunk, *chunks], results, whole)


def test_the_state_of_another_pack_is_refused(make, blobs):
    task = make.pack(make.trial())
    state = PackTrainer(task, blobs).state_dict() | {"pack_id": "another"}
    with pytest.raises(ValueError, match="another"):
        PackTrainer(task, blobs).load_state_dict(state)

"""No host sync inside a chunk, and the same loop on a CUDA device."""

from unittest import mock

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from schemas.optimizers import AdamW
from schemas.schedules import CosineDecay, GivenOptimum, Schedule, SmoothnessLawWarmup
from workers.science.trainer import PackTrainer
from workers.science.training import TrainingLoop

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

WAITS = ("aten._local_scalar_dense", "aten.nonzero", "aten.is_nonzero", "aten.equal", "aten.masked_select")


class NoHostSync(TorchDispatchMode):
    """Fails on any operation whose result the host must wait for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not str(func).startswith(WAITS), func
        return func(*args, **(kwargs or {}))


def mixed_pack(make):
    law = SmoothnessLawWarmup(
        kind="smoothness_law", rule="liu", k0=1.0, k_rho=5.0, optimum=GivenOptimum(kind="given", value=0.0)
    )
    closed = Schedule(warmup=law, decay=CosineDecay(kind="cosine"))
    workload = make.classification(gradient_clip_norm=1.0)
    return make.pack(
        make.trial(workload, AdamW(kind="adamw"), 0.01),
        make.trial(workload, AdamW(kind="adamw"), 0.02, schedule=closed),
        make.trial(workload, AdamW(kind="adamw"), 1e30),
        size=4,
    )


def test_a_chunk_never_waits_for_the_device(make, blobs):
    trainer = PackTrainer(mixed_pack(make), blobs)
    trainer.run_chunk(20)  # the closed loop reads its first loss, and traces are made
    to_host = TrainingLoop._to_host

    def allowed(*arguments):
        with torch.utils._python_dispatch._disable_current_modes():
            return to_host(*arguments)

    with mock.patch.object(TrainingLoop, "_to_host", allowed), NoHostSync():
        trainer._loop.run(20, 30)


@needs_cuda
def test_cuda_gives_the_same_bits_twice(make, blobs):
    runs = [make.run(mixed_pack(make), blobs, device="cuda") for _ in range(2)]
    for name, column in runs[0].tables["steps"].items():
        assert column.tolist() == runs[1].tables["steps"][name].tolist() or np.isnan(column[-1])
    first, second = (run.trainer.state_dict()["loop.params"] for run in runs)
    assert first.tobytes() == second.tobytes()


@needs_cuda
def test_cuda_agrees_with_the_cpu(make, blobs):
    ours, theirs = (make.run(mixed_pack(make), blobs, device=device) for device in ("cuda", "cpu"))
    for result, other in zip(ours.results, theirs.results, strict=True):
        assert result.outcome == other.outcome
        assert result.best["train_eval_loss"] == pytest.approx(other.best["train_eval_loss"], rel=1e-4)


@needs_cuda
def test_cuda_resumes_bit_for_bit(make, blobs):
    task = mixed_pack(make)
    whole = make.run(task, blobs, device="cuda")
    first, second = (PackTrainer(task, blobs, device="cuda") for _ in range(2))
    first.run_chunk(11)
    second.load_state_dict(first.state_dict())
    while not second.done:
        second.run_chunk()
    assert repr(second.results()) == repr(whole.results)


@needs_cuda
def test_a_cuda_chunk_passes_torchs_own_sync_check(make, blobs):
    trainer = PackTrainer(mixed_pack(make), blobs, device="cuda")
    trainer.run_chunk(20)
    rows = trainer._loop._to_host
    with mock.patch.object(trainer._loop, "_to_host", lambda *arguments: arguments):
        torch.cuda.set_sync_debug_mode("error")
        try:
            arguments = trainer._loop.run(20, 30)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert len(rows(*arguments).alive) == 10

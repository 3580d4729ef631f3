"""Rates of every update against their closed forms, the paper's table, and torch's own schedulers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.schedules import (
    ConstantDecay,
    CosineDecay,
    ExponentialConvexWarmup,
    LinearDecay,
    LinearWarmup,
    NoWarmup,
    Schedule,
    SmoothnessLawWarmup,
    ZeroOptimum,
)
from workers.schedules import decay_factors, factors, warmup_factors

CONSTANT = ConstantDecay(kind="constant")


def linear(steps, **fields):
    return LinearWarmup(kind="linear", steps=steps, **fields)


def convex(steps, alpha=1.5):
    return ExponentialConvexWarmup(kind="exponential_convex", steps=steps, alpha=alpha)


def schedule(warmup, decay=CONSTANT):
    return Schedule(warmup=warmup, decay=decay)


# (T, W) -> the first update, the last of the warmup, the first after it, the last: warmup linear, decay linear to 0.
LINEAR_LINEAR = {
    (1, 0): [1.0],
    (1, 1): [1.0],
    (2, 0): [1.0, 1 / 2],
    (2, 1): [1.0, 1 / 2],
    (2, 2): [1 / 2, 1.0],
    (4, 0): [1.0, 3 / 4, 2 / 4, 1 / 4],
    (4, 1): [1.0, 3 / 4, 2 / 4, 1 / 4],
    (4, 2): [1 / 2, 1.0, 2 / 3, 1 / 3],
    (4, 3): [1 / 3, 2 / 3, 1.0, 1 / 2],
    (4, 4): [1 / 4, 2 / 4, 3 / 4, 1.0],
}


@pytest.mark.parametrize(("lengths", "expected"), LINEAR_LINEAR.items())
def test_linear_warmup_and_linear_decay_meet_at_the_peak(lengths, expected):
    total_steps, warmup_steps = lengths
    found = factors(schedule(linear(warmup_steps), LinearDecay(kind="linear")), total_steps)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("total_steps", [1, 2, 10])
def test_a_warmup_longer_than_the_run_is_refused_never_clamped(total_steps):
    with pytest.raises(ValueError, match=rf"warmup\.steps: got {total_steps + 1}, allowed at most"):
        factors(schedule(linear(total_steps + 1)), total_steps)


def test_a_closed_loop_has_no_factors_before_the_run():
    law = SmoothnessLawWarmup(
        kind="smoothness_law", rule="descent", k0=1.0, k_rho=1.0, optimum=ZeroOptimum(kind="zero")
    )
    with pytest.raises(ValueError, match=r"warmup\.kind: got smoothness_law"):
        factors(schedule(law), 10)


@pytest.mark.parametrize(
    "warmup", [NoWarmup(kind="none"), linear(0), linear(1), linear(1, start_factor=0.5), convex(1)]
)
def test_none_and_warmups_of_zero_and_one_step_are_the_same(warmup):
    decay = CosineDecay(kind="cosine", floor=0.1)
    np.testing.assert_array_equal(factors(schedule(warmup, decay), 9), factors(schedule(linear(0), decay), 9))


def test_the_start_factor_is_where_the_warmup_starts_from():
    # s + (1 - s)(k + 1)/W, s = 0.2, W = 4
    np.testing.assert_allclose(warmup_factors(linear(4, start_factor=0.2), 4), [0.4, 0.6, 0.8, 1.0], atol=1e-15)


def test_a_convex_warmup_with_little_curvature_is_linear():
    np.testing.assert_allclose(warmup_factors(convex(50, 1e-9), 50), warmup_factors(linear(50), 50), atol=1e-9)


@pytest.mark.parametrize(
    ("total_steps", "warmup_steps"), [(10, 4), (10, 2), (10, 9), (10, 10), (200, 50), (7, 7), (2, 2)]
)
def test_the_torch_form_of_the_contract_drives_an_optimizer_at_the_same_rates(total_steps, warmup_steps):
    peak = 0.3
    ours = peak * factors(schedule(linear(warmup_steps), CosineDecay(kind="cosine")), total_steps)
    np.testing.assert_allclose(ours, torch_rates(peak, total_steps, warmup_steps), rtol=0, atol=1e-12)


def torch_rates(peak, total_steps, warmup_steps):
    """The rates that a torch optimizer is at when it makes its updates."""
    lr_scheduler = torch.optim.lr_scheduler
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
    up = lr_scheduler.LinearLR(optimizer, start_factor=1 / warmup_steps, total_iters=warmup_steps - 1)
    down = lr_scheduler.CosineAnnealingLR(optimizer, T_max=total_steps - warmup_steps + 1)
    sequence = lr_scheduler.SequentialLR(optimizer, [up, down], milestones=[warmup_steps - 1])
    rates = []
    for _ in range(total_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        sequence.step()
    return rates


@settings(max_examples=40, deadline=None)
@given(total_steps=st.integers(3, 300), data=st.data(), floor=st.floats(0, 1))
def test_the_closed_form_of_the_cosine_holds_at_every_step(total_steps, data, floor):
    warmup_steps = data.draw(st.integers(0, total_steps))
    found = decay_factors(CosineDecay(kind="cosine", floor=floor), warmup_steps, total_steps)
    start = max(warmup_steps, 1)
    for step in range(total_steps):
        progress = (step - start + 1) / (total_steps - start + 1) if step >= start else 0.0
        expected = floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
        assert found[step] == pytest.approx(expected, abs=1e-14)

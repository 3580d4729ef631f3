"""The same rates from other people's schedulers while they drive an optimizer: torch's own, and pytorch-warmup's."""

import numpy as np
import pytest
import pytorch_warmup
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, LambdaLR, LinearLR, OneCycleLR, SequentialLR

from schemas.schedules import Schedule
from workers.schedules import factors

PEAK = 0.3
STEPS = 400


def adam(beta2):
    return torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=PEAK, betas=(0.9, beta2))


def driven(optimizer, advance, steps=STEPS):
    """The rates at which the updates are made."""
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        advance()
    return np.array(rates)


def ours(warmup, decay="constant", steps=STEPS, **decay_fields):
    schedule = Schedule.model_validate({"warmup": warmup, "decay": {"kind": decay, **decay_fields}})
    return PEAK * factors(schedule, steps)


def dampened(optimizer, warmup, scheduler):
    def advance():
        with warmup.dampening():
            scheduler.step()

    return driven(optimizer, advance)


@pytest.mark.parametrize("beta2", [0.7, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("decay", ["constant", "cosine"])
def test_radam_warmup_is_that_of_pytorch_warmup(beta2, decay):
    optimizer = adam(beta2)
    down = CosineAnnealingLR(optimizer, T_max=STEPS) if decay == "cosine" else LambdaLR(optimizer, lambda _step: 1.0)
    theirs = dampened(optimizer, pytorch_warmup.RAdamWarmup(optimizer), down)
    np.testing.assert_allclose(ours({"kind": "radam", "beta2": beta2}, decay), theirs, rtol=1e-9)


@pytest.mark.parametrize("beta2", [0.9, 0.98, 0.99, 0.997])
def test_untuned_warmups_are_those_of_pytorch_warmup_but_for_its_truncation_to_int(beta2):
    optimizer = adam(beta2)
    down = CosineAnnealingLR(optimizer, T_max=STEPS)  # the warmup must be built after it
    exponential = pytorch_warmup.UntunedExponentialWarmup(optimizer)
    [params] = exponential.warmup_params
    truncated = params["warmup_period"]
    theirs = dampened(optimizer, exponential, down)
    same = ours({"kind": "exponential_concave", "tau_steps": float(truncated)}, "cosine")
    np.testing.assert_allclose(same, theirs, rtol=1e-9)
    # ours has the time constant of the paper, at most one update longer
    untuned = ours({"kind": "untuned_exponential", "beta2": beta2}, "cosine")
    np.testing.assert_allclose(untuned, ours({"kind": "exponential_concave", "tau_steps": 1 / (1 - beta2)}, "cosine"))
    assert 0 <= 1 / (1 - beta2) - truncated < 1

    optimizer = adam(beta2)
    flat = LambdaLR(optimizer, lambda _step: 1.0)
    linear = pytorch_warmup.UntunedLinearWarmup(optimizer)
    [params] = linear.warmup_params
    theirs = dampened(optimizer, linear, flat)
    np.testing.assert_allclose(ours({"kind": "linear", "steps": params["warmup_period"]}, steps=1000)[:STEPS], theirs)


@pytest.mark.parametrize(("beta2", "linear", "exponential"), [(0.999, 1999, 999), (0.98, 99, 49)])
def test_its_truncation_is_where_the_notes_say(beta2, linear, exponential):
    [params] = pytorch_warmup.UntunedLinearWarmup(adam(beta2)).warmup_params
    assert params["warmup_period"] == linear
    [params] = pytorch_warmup.UntunedExponentialWarmup(adam(beta2)).warmup_params
    assert params["warmup_period"] == exponential
    spec = Schedule.model_validate(
        {"warmup": {"kind": "untuned_linear", "beta2": beta2}, "decay": {"kind": "constant"}}
    )
    assert spec.end_step(STEPS) == linear + 1


@pytest.mark.parametrize("steps", [10, 100])
def test_the_torch_form_of_ours_with_every_decay_that_torch_has(steps):
    total = 200
    behind = total - steps + 1
    decays = {
        "cosine": lambda optimizer: CosineAnnealingLR(optimizer, T_max=behind, eta_min=0.1 * PEAK),
        "linear": lambda optimizer: LinearLR(optimizer, 1.0, end_factor=0.1, total_iters=behind),
        "exponential": lambda optimizer: ExponentialLR(optimizer, gamma=0.98),
    }
    for kind, made in decays.items():
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
        up = LinearLR(optimizer, start_factor=1 / steps, total_iters=steps - 1)
        sequence = SequentialLR(optimizer, [up, made(optimizer)], milestones=[steps - 1])
        fields = {"gamma": 0.98} if kind == "exponential" else {"floor": 0.1}
        found = ours({"kind": "linear", "steps": steps}, kind, total, **fields)
        np.testing.assert_allclose(found, driven(optimizer, sequence.step, total), rtol=1e-10, err_msg=kind)


@pytest.mark.parametrize("anneal", ["cosine", "linear"])
@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize(("total", "fraction"), [(100, 0.3), (101, 0.3), (7, 0.4), (50, 0.0)])
def test_one_cycle_in_the_convention_of_torch_is_onecyclelr(anneal, three_phase, total, fraction):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    strategy = {"cosine": "cos", "linear": "linear"}[anneal]
    shape = {"pct_start": fraction, "anneal_strategy": strategy, "three_phase": three_phase}
    scheduler = OneCycleLR(optimizer, PEAK, total_steps=total, cycle_momentum=False, **shape)
    rates = driven(optimizer, scheduler.step, total)
    decay = {"kind": "one_cycle", "anneal": anneal, "three_phase": three_phase, "warmup_fraction": fraction}
    schedule = Schedule.model_validate({"warmup": {"kind": "none"}, "decay": decay, "convention": "torch"})
    np.testing.assert_allclose(PEAK * factors(schedule, total), rates, rtol=1e-10)


@pytest.mark.parametrize("kind", ["polynomial", "sqrt", "cosine", "geometric", "piecewise_linear", "constant_low"])
def test_a_lambda_scheduler_that_drives_an_optimizer_and_is_loaded_in_mid_warmup_has_the_same_rates(kind):
    schedule = Schedule.model_validate({"warmup": {"kind": kind, "steps": 20}, "decay": {"kind": "cosine"}})
    curve = factors(schedule, 60)

    def driver():
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
        return optimizer, LambdaLR(optimizer, lambda step: curve[min(step, 59)])

    optimizer, scheduler = driver()
    first = driven(optimizer, scheduler.step, 7)
    saved = optimizer.state_dict(), scheduler.state_dict()
    optimizer, scheduler = driver()
    optimizer.load_state_dict(saved[0])
    scheduler.load_state_dict(saved[1])
    second = driven(optimizer, scheduler.step, 53)
    np.testing.assert_array_equal(np.concatenate([first, second]), PEAK * curve)

"""The closed loop on F1, where design/theory.md (T3) gives the exact number of steps."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import grad_and_value, vmap

from schemas.functions import Cosh
from schemas.schedules import SmoothnessLawWarmup
from schemas.workloads import Start
from workers.science.functions.cosh import CoshFunction
from workers.science.protocols import State
from workers.science.rules import BUILDERS
from workers.science.rules.smoothness_law import SmoothnessLawRule

GIVEN_ZERO = {"kind": "given", "value": 0.0}
START_GAPS = (10.0, 100.0, 1000.0, 10000.0)
COSH = CoshFunction(Cosh(kind="cosh"))


def no_evaluations(params: torch.Tensor) -> torch.Tensor:
    raise AssertionError("this rule needs no extra evaluation")


def rule(**fields: Any) -> SmoothnessLawRule:
    spec = {"kind": "smoothness_law", "rule": "descent", "k0": 1.0, "k_rho": 1.0, "optimum": GIVEN_ZERO, **fields}
    built = BUILDERS["smoothness_law"](SmoothnessLawWarmup.model_validate(spec))
    assert isinstance(built, SmoothnessLawRule)
    return built


def start(built: SmoothnessLawRule, n: int = 1) -> State:
    return built.init(n, torch.float64, torch.device("cpu"))


def feed(built: SmoothnessLawRule, losses: list[float], state: State | None = None) -> tuple[list[float], State]:
    state = start(built) if state is None else state
    rates = []
    for loss in losses:
        observed = {"loss": torch.tensor([loss], dtype=torch.float64)}
        rate, state = built.next(state, observed, no_evaluations)
        rates.append(rate.item())
    return rates, state


def steps_on_cosh(built: SmoothnessLawRule, *, epsilon: float = 1e-6, limit: int = 1000) -> list[int]:
    """The first step at which each of four trials, packed, has a gap of at most epsilon; peak_lr is 1."""
    params = torch.stack([COSH.start(Start(gap=gap)) for gap in START_GAPS])
    state, reached = start(built, len(START_GAPS)), [-1] * len(START_GAPS)
    for step in range(limit):
        grads, losses = vmap(grad_and_value(COSH.value))(params)
        reached = [step if at < 0 and loss <= epsilon else at for at, loss in zip(reached, losses, strict=True)]
        if min(reached) >= 0:
            break
        rates, state = built.next(state, {"loss": losses}, no_evaluations)
        params = params - rates.clamp(max=1.0)[:, None] * grads
    return reached


def steps_at_constant_rate(gap: float, rate: float, *, epsilon: float = 1e-6) -> int:
    w, steps = COSH.start(Start(gap=gap)).item(), 0
    while 2 * math.sinh(w / 2) ** 2 > epsilon:
        w, steps = w - rate * math.sinh(w), steps + 1
        if abs(w) > 700:
            return -1
    return steps


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"rule": "descent"}, [5, 7, 9, 12]),
        ({"rule": "liu", "c": 0.5}, [20, 33, 46, 60]),
        ({"rule": "liu", "c": 1.0}, [8, 14, 21, 28]),
        ({"rule": "alimisis"}, [105, 149, 194, 240]),
    ],
)
def test_steps_on_the_cosh_wall_are_those_of_t3(fields: dict[str, Any], expected: list[int]) -> None:
    assert steps_on_cosh(rule(**fields)) == expected


@pytest.mark.parametrize(("factor", "expected"), [(0.999, 475), (1.001, -1)])
def test_the_tuned_constant_rate_from_a_gap_of_1000_is_that_of_t3(factor: float, expected: int) -> None:
    w = COSH.start(Start(gap=1000.0)).item()
    assert steps_at_constant_rate(1000.0, factor * 2 * w / math.sinh(w)) == expected


def test_constant_rate_that_is_safe_at_the_start_takes_7254_steps_from_a_gap_of_1000() -> None:
    assert steps_at_constant_rate(1000.0, 1 / 1001.0) == 7254


def test_the_bound_of_alimisis_theorem_4_3_holds() -> None:
    for steps, gap in zip(steps_on_cosh(rule(rule="alimisis")), START_GAPS, strict=True):
        assert steps <= 40 * gap + 20 * math.log(1 / (2 * 1e-6))


def test_an_optimum_too_low_caps_the_rate() -> None:
    """With f* - c for f*, the rate ends at 1/(K0 + K1 c) (design/theory.md, T14)."""
    rates, _ = feed(rule(optimum={"kind": "given", "value": -3.0}), [10.0, 0.0])
    assert rates == [1 / 14, 1 / 4]


def test_scale_multiplies_the_rate() -> None:
    assert feed(rule(scale=0.5), [3.0])[0] == [0.5 / 4.0]


def test_lag_reads_the_loss_of_that_many_steps_before_and_the_first_until_then() -> None:
    rates, _ = feed(rule(signal={"lag": 2}), [9.0, 4.0, 3.0, 1.0, 0.0])
    assert rates == [0.1, 0.1, 0.1, 1 / 5, 1 / 4]


def test_ema_starts_at_the_first_loss() -> None:
    rates, _ = feed(rule(signal={"source": "ema", "ema_decay": 0.75}), [8.0, 4.0])
    assert rates == pytest.approx([1 / 9, 1 / 8], rel=1e-14)


def test_zero_optimum_takes_the_loss_as_the_gap() -> None:
    assert feed(rule(optimum={"kind": "zero"}), [4.0])[0] == [0.2]


def test_running_minimum_has_gap_zero_at_each_new_minimum() -> None:
    rates, state = feed(rule(optimum={"kind": "running_minimum"}), [4.0, 2.0, 5.0, 1.0])
    assert rates == [1.0, 1.0, 0.25, 1.0]
    assert state["gap_clamped"].item() == 0


def test_a_negative_gap_is_zero_and_counted() -> None:
    rates, state = feed(rule(optimum={"kind": "given", "value": 1.0}), [2.0, 0.5, 0.0, 1.5])
    assert rates == [0.5, 1.0, 1.0, 1 / 1.5]
    assert state["gap_clamped"].item() == 2


def test_a_loss_below_the_optimum_is_not_refused_after_a_resume() -> None:
    fields = {"optimum": {"kind": "given", "value": 1.0}}
    _, state = feed(rule(**fields), [2.0])
    rates, state = feed(rule(**fields), [0.5], state)
    assert rates == [1.0]
    assert state["gap_clamped"].item() == 1


@pytest.mark.parametrize("name", ["descent", "liu"])
def test_a_law_without_k0_allows_any_rate_at_the_optimum(name: str) -> None:
    assert feed(rule(rule=name, k0=0.0), [0.0])[0] == [math.inf]


def test_a_member_that_is_not_finite_does_not_touch_its_neighbours() -> None:
    built = rule()
    losses = torch.tensor([3.0, math.nan, 1.0], dtype=torch.float64)
    rates, _ = built.next(start(built, 3), {"loss": losses}, no_evaluations)
    assert rates[[0, 2]].tolist() == [0.25, 0.5]
    assert math.isnan(rates[1].item())


def test_float32_losses_are_read_in_float64() -> None:
    built = rule()
    rates, state = built.next(start(built), {"loss": torch.tensor([3.0])}, no_evaluations)
    assert rates.dtype == torch.float64
    assert all(tensor.dtype in (torch.float64, torch.int64) for tensor in state.values())


@given(
    losses=st.lists(st.floats(0, 1e6), min_size=2, max_size=12),
    cut=st.integers(1, 11),
    source=st.sampled_from(["batch_loss", "ema"]),
    lag=st.integers(0, 3),
    optimum=st.sampled_from(["zero", "running_minimum"]),
)
@settings(max_examples=60, deadline=None)
def test_resumed_equals_uninterrupted(losses: list[float], cut: int, source: str, lag: int, optimum: str) -> None:
    fields = {"signal": {"source": source, "lag": lag}, "optimum": {"kind": optimum}}
    straight, _ = feed(rule(**fields), losses)
    before, state = feed(rule(**fields), losses[:cut])
    after, _ = feed(rule(**fields), losses[cut:], {name: tensor.clone() for name, tensor in state.items()})
    assert before + after == straight


@given(low=st.floats(0, 1e4), step=st.floats(1e-3, 1e4), name=st.sampled_from(["descent", "liu", "alimisis"]))
@settings(max_examples=60, deadline=None)
def test_the_rate_never_rises_with_the_gap(low: float, step: float, name: str) -> None:
    near, far = (feed(rule(rule=name), [loss])[0][0] for loss in (low, low + step))
    assert far <= near <= 1.0

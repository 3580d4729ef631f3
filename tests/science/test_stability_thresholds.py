"""Where training on a quadratic breaks, by bisection over the curvature, in the real optimizers (papers.md, C1)."""

from collections.abc import Callable

import pytest
import torch

from schemas.optimizers import SGD, Adam
from workers.science.optimizers import PackHyperparameters
from workers.science.registry import build_optimizer

LR, STEPS = 0.1, 4000
CURVATURES = 33


def diverged(spec: SGD | Adam, curvatures: list[float], state_of: Callable[[dict], None]) -> list[bool]:
    """Whether a start of 1 has grown after STEPS updates on 1/2 curvature w^2; one curvature a trial of the pack."""
    num = len(curvatures)
    optimizer = build_optimizer(spec.kind, PackHyperparameters([spec] * num, torch.float64, torch.device("cpu")))
    params, curvature = torch.ones(num, 1, dtype=torch.float64), torch.tensor(curvatures, dtype=torch.float64)[:, None]
    state, out = optimizer.init(params), torch.empty_like(params)
    state["lr"].fill_(LR)
    state_of(state)
    largest = torch.zeros(num, dtype=torch.float64)
    for step in range(STEPS):
        optimizer.update(curvature * params, state, params, optimizer.coefficients(state), out)
        params += out
        if step >= STEPS // 2:  # momentum first rises, whatever comes after
            largest = torch.maximum(largest, params.abs()[:, 0])
    return [not value < 1.0 for value in largest.tolist()]


def edge(spec: SGD | Adam, low: float, high: float, state_of: Callable[[dict], None]) -> float:
    """The curvature at which it starts to diverge, within 0.1 %: each round tries CURVATURES between two ends."""
    while high / low > 1.001:
        tried = torch.linspace(low, high, CURVATURES, dtype=torch.float64).tolist()
        first = diverged(spec, tried, state_of).index(True)
        assert first > 0
        low, high = tried[first - 1], tried[first]
    return (low * high) ** 0.5


def frozen(state: dict) -> None:
    """Second moment 1, far from the start: with beta2 next to 1 the preconditioner is 1 and stays there."""
    state["second_moment"].fill_(1.0)
    state["step"].fill_(1e18)


@pytest.mark.parametrize(
    ("spec", "product", "state_of"),
    [
        (SGD(kind="sgd"), 2.0, lambda state: None),
        (SGD(kind="sgd", momentum=0.9), 3.8, lambda state: None),
        (Adam(kind="adam", betas=(0.9, 1 - 1e-15), eps=1e-30), 38.0, frozen),
    ],
    ids=["gd", "sgd-m", "adam"],
)
def test_a_quadratic_diverges_above_the_papers_threshold(spec, product, state_of) -> None:
    found = edge(spec, 0.5 * product / LR, 1.5 * product / LR, state_of)
    assert found * LR == pytest.approx(product, rel=0.005)

"""What Adam's second beta alone says about warmup: time constants, and RAdam's rectification."""

from bisect import bisect_left
from typing import Any

from schemas.optimizers import Optimizer

LEAST_RADAM_BETA2 = 0.6
"""At and below it rho never exceeds 4: there is nothing to rectify (arXiv 1908.03265, fact 3.1)."""
MOST_RADAM_BETA2 = 0.99999
"""Beyond it rho is a difference of two numbers that float64 hardly tells apart."""
WITHOUT_SECOND_MOMENT = frozenset({"lion"})
"""Kinds whose second beta is not the decay of a second moment."""
RECTIFIED = frozenset({"radam"})
"""Kinds that have RAdam's factor inside the update."""


def beta2_of(optimizer: Optimizer) -> float | None:
    """The decay of an optimizer's second moment; None where it has none."""
    betas = getattr(optimizer, "betas", None)
    return None if betas is None or optimizer.kind in WITHOUT_SECOND_MOMENT else float(betas[1])


def time_constant(beta2: float) -> float:
    """1 / (1 - beta2): the updates over which a second moment forgets."""
    return 1.0 / (1.0 - beta2)


def rho_limit(beta2: float) -> float:
    """rho_inf = 2 / (1 - beta2) - 1 (arXiv 1908.03265, section 3.2)."""
    return 2.0 / (1.0 - beta2) - 1.0


def rho(t: Any, beta2: float) -> Any:
    """rho_t = rho_inf - 2 t beta2^t / (1 - beta2^t), t = 1, 2, ...: a number, or an array of them."""
    power = beta2**t
    return rho_limit(beta2) - 2.0 * t * power / (1.0 - power)


def radam_factor(t: Any, beta2: float) -> Any:
    """sqrt((rho_t - 4)(rho_t - 2) rho_inf / ((rho_inf - 4)(rho_inf - 2) rho_t)), where rho_t > 4 (eq. 8)."""
    limit, at = rho_limit(beta2), rho(t, beta2)
    return ((at - 4.0) * (at - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * at)) ** 0.5


def first_rectified(beta2: float) -> int:
    """The first t with rho_t > 4: 5 for every beta2 of at least 0.8."""
    assert LEAST_RADAM_BETA2 < beta2 <= MOST_RADAM_BETA2
    return bisect_left(range(1, 10_000), True, key=lambda t: rho(float(t), beta2) > 4.0) + 1

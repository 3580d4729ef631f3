"""Rates that are the gap over something: Polyak's, and Riabinin and others' for steps of a fixed norm."""

from typing import Any, TypeVar

from schemas.schedules import RiabininWarmup

Value = TypeVar("Value")
"""A float, a numpy array or a torch tensor: the formulas use operators alone."""


def polyak_rate(gap: Value, squared_gradient_norm: Value) -> Value:
    """gap / ||gradient||^2 (Polyak 1969): on a quadratic between 1/(2 lambda_max) and 1/(2 lambda_min).

    No number where both are 0, at the optimum, on arrays and tensors.
    """
    number: Any = gap
    return number / squared_gradient_norm  # type: ignore[no-any-return]


def riabinin_rate(warmup: RiabininWarmup, gap: Value) -> Value:
    """gap / (k0 + k1 gap + k2 gap^2) (arXiv 2602.05813), before `scale` and the cap at peak_lr.

    Largest at gap sqrt(k0/k2): 1 / (k1 + 2 sqrt(k0 k2)).
    """
    number: Any = gap
    if warmup.k0 == 0:
        return 1.0 / (warmup.k1 + warmup.k2 * number)  # type: ignore[no-any-return]
    return number / (warmup.k0 + number * (warmup.k1 + warmup.k2 * number))  # type: ignore[no-any-return]


def riabinin_peak_gap(warmup: RiabininWarmup) -> float:
    """The gap at which the rate is largest."""
    return float((warmup.k0 / warmup.k2) ** 0.5)

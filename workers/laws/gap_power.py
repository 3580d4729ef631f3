"""||Hessian|| <= K0 + Krho gap^rho, and the rates that three analyses derive from it."""

from typing import Any, TypeVar

from schemas.schedules import SmoothnessLawWarmup

Value = TypeVar("Value")
"""A float, a numpy array or a torch tensor: the formulas use operators alone."""


def rule_rate(warmup: SmoothnessLawWarmup, gap: Value) -> Value:
    """The rate that `warmup.rule` allows at `gap` (>= 0), before `scale` and the cap at peak_lr.

    descent: 1 / (K0 + Krho gap^rho) (design/theory.md 2.2; the loss falls at every step)
    liu: c min(1/K0, 1/(3^rho Krho gap^rho)) (arXiv 2509.07972), written as c / max(K0, 3^rho Krho gap^rho)
    alimisis: 1 / (10 K0 + 20 K1 gap) (arXiv 2510.03164, Theorems 4.2 and 4.3)

    Infinite where the law allows any rate (K0 = 0 and gap = 0, on arrays and tensors).
    """
    number: Any = gap  # operators keep the kind of their operand, which a type checker cannot know
    if warmup.rule == "alimisis":
        return 1.0 / (10.0 * warmup.k0 + 20.0 * warmup.k_rho * number)  # type: ignore[no-any-return]
    curvature = warmup.k_rho * number**warmup.rho
    if warmup.rule == "descent":
        return 1.0 / (warmup.k0 + curvature)  # type: ignore[no-any-return]
    return warmup.c / _maximum(warmup.k0, 3.0**warmup.rho * curvature)  # type: ignore[no-any-return]


def _maximum(floor: float, value: Any) -> Any:
    # max(a, b) = (a + b + |a - b|) / 2 loses digits; comparison by multiplication is exact and works for tensors too.
    above = value > floor
    return above * value + (above ^ True) * floor

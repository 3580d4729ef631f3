"""Which starts and stops an analytic function can have: refused in the spec, not in the middle of a study."""

import math

from schemas.errors import Problem
from schemas.functions import (
    AnalyticFunction,
    Cosh,
    FlatThenExponential,
    InversePower,
    Quadratic,
    RiverValley,
    ScalarNet,
    TwoLayerLinear,
)
from schemas.gradient_noise import ABCNoise, AdditiveNoise
from schemas.problems import show
from schemas.workloads import Analytic, Start


def num_coordinates(function: AnalyticFunction) -> int:
    """P: the length of the parameter vector."""
    if isinstance(function, Quadratic):
        return len(function.eigenvalues)
    if isinstance(function, ScalarNet):
        return function.depth
    if isinstance(function, RiverValley):
        return 1 + len(function.eigenvalues)
    if isinstance(function, TwoLayerLinear):
        return 2 * function.width
    return 1


def brings_start(function: AnalyticFunction) -> bool:
    """Whether its starting point follows from the seed's initialization, so that none is stated."""
    return isinstance(function, TwoLayerLinear)


def has_optimum(function: AnalyticFunction) -> bool:
    """Whether there is a gap to speak of: not where a quadratic has a negative eigenvalue."""
    return not (isinstance(function, Quadratic) and min(function.eigenvalues) < 0)


def start_loss(workload: Analytic) -> float | None:
    """The loss where it starts, as far as that follows from the spec alone: not from a point, nor from a seed."""
    start, function = workload.start, workload.function
    if start is None or not has_optimum(function):
        return None
    lowest = 0.5 if isinstance(function, FlatThenExponential) else 0.0
    if start.gap is not None:
        return lowest + start.gap
    if start.per_block is None or not isinstance(function, RiverValley):
        return None
    river = start.per_block.river
    rivers = river if isinstance(river, tuple) else (river,) * len(function.eigenvalues)
    slopes = zip(function.eigenvalues, rivers, strict=False)
    return start.per_block.wall_gap + 0.5 * sum(eigenvalue * b * b for eigenvalue, b in slopes)


def start_problems(workload: Analytic, where: str) -> list[Problem]:
    """Starts of another form or length than the function's, stops at a gap that does not exist, and unfit noise."""
    problem = _start_problem(workload.function, workload.start, f"{where}.start")
    problems = [problem] if problem else []
    if workload.stop is not None and not has_optimum(workload.function):
        problems.append(Problem(f"{where}.stop", show(workload.stop), "nothing: without an optimum there is no gap"))
    if (problem := _noise_problem(workload, f"{where}.noise")) is not None:
        problems.append(problem)
    return problems


def _noise_problem(workload: Analytic, where: str) -> Problem | None:
    noise, num = workload.noise, num_coordinates(workload.function)
    if isinstance(noise, AdditiveNoise) and isinstance(noise.sigma, tuple) and len(noise.sigma) != num:
        return Problem(f"{where}.sigma", f"{len(noise.sigma)} numbers", f"one, or {num}, one for each coordinate")
    if isinstance(noise, ABCNoise) and noise.a > 0 and not has_optimum(workload.function):
        return Problem(f"{where}.a", show(noise.a), "0: without an optimum there is no gap")
    return None


def _start_problem(function: AnalyticFunction, start: Start | None, where: str) -> Problem | None:
    if brings_start(function):
        allowed = f"nothing: {function.kind} starts from the seed's initialization"
        return Problem(where, show(start), allowed) if start is not None else None
    if start is None:
        return Problem(where, "nothing", "a value: the field is required")
    num = num_coordinates(function)
    point = f"point with {num} coordinate{'s' if num > 1 else ''}"
    if start.point is not None:
        if len(start.point) != num:
            return Problem(f"{where}.point", f"{len(start.point)} coordinates", str(num))
        if isinstance(function, InversePower):
            return _inverse_power_problem(function, start.point[0], f"{where}.point[0]")
        return None
    if isinstance(function, RiverValley):
        return _block_problem(function, start, point, where)
    if start.per_block is not None:
        return Problem(f"{where}.per_block", show(start.per_block), f"{'gap or ' if num == 1 else ''}{point}")
    if isinstance(function, Quadratic) and not (num == 1 and function.eigenvalues[0] > 0):
        return Problem(f"{where}.gap", show(start.gap), f"{point}: many points have this gap, or none")
    assert start.gap is not None
    return _gap_problem(function, start.gap, f"{where}.gap")


def _block_problem(function: RiverValley, start: Start, point: str, where: str) -> Problem | None:
    if start.per_block is None:
        return Problem(f"{where}.gap", show(start.gap), f"per_block or {point}")
    river = start.per_block.river
    if isinstance(river, tuple) and len(river) != len(function.eigenvalues):
        return Problem(f"{where}.per_block.river", f"{len(river)} coordinates", str(len(function.eigenvalues)))
    return _gap_problem(function, start.per_block.wall_gap, f"{where}.per_block.wall_gap")


def _inverse_power_problem(function: InversePower, w: float, where: str) -> Problem | None:
    if w <= 0:
        return Problem(where, show(w), "above 0")
    if not math.isfinite(_power(w, -function.q)):
        return Problem(where, show(w), f"a point where w^(-q) is a finite number, with q={function.q:g}")
    return None


def _gap_problem(function: AnalyticFunction, gap: float, where: str) -> Problem | None:
    """A gap whose starting point is beyond what a float64 holds."""
    coordinate = _coordinate(function, gap)
    if math.isfinite(coordinate) and (coordinate > 0 or not isinstance(function, InversePower)):
        return None
    constants = ", ".join(f"{name}={show(value)}" for name, value in function.model_dump(exclude={"kind"}).items())
    return Problem(where, show(gap), f"a gap whose starting point is an ordinary number, with {constants}")


def _coordinate(function: AnalyticFunction, gap: float) -> float:
    """What a start at `gap` is computed from, where extreme constants can make it infinite or 0; else 0."""
    if isinstance(function, InversePower):
        return _power(gap, -1.0 / function.q)
    if isinstance(function, Quadratic):
        return 2.0 * gap / function.eigenvalues[0]
    if isinstance(function, Cosh | RiverValley):
        wall = 0.5 * gap * function.k1 / function.k0
        return wall + 2.0 * function.k0 / function.k1 + math.sqrt(wall) / math.sqrt(function.k1)
    return 0.0


def _power(base: float, exponent: float) -> float:
    try:
        return float(base**exponent)
    except (OverflowError, ZeroDivisionError):
        return math.inf

"""Which starts and stops an analytic function can have: refused in the spec, not in the middle of a study."""

from schemas.errors import Problem
from schemas.problems import show
from schemas.workloads import Analytic, AnalyticFunction, InversePower, Quadratic, RiverValley, ScalarNet, Start


def num_coordinates(function: AnalyticFunction) -> int:
    """P: the length of the parameter vector."""
    if isinstance(function, Quadratic):
        return len(function.eigenvalues)
    if isinstance(function, ScalarNet):
        return function.depth
    if isinstance(function, RiverValley):
        return 1 + len(function.eigenvalues)
    return 1


def has_optimum(function: AnalyticFunction) -> bool:
    """Whether there is a gap to speak of: not where a quadratic has a negative eigenvalue."""
    return not (isinstance(function, Quadratic) and min(function.eigenvalues) < 0)


def start_problems(workload: Analytic, where: str) -> list[Problem]:
    """Starts of another form or length than the function's, and stops at a gap that does not exist."""
    problem = _start_problem(workload.function, workload.start, f"{where}.start")
    problems = [problem] if problem else []
    if workload.stop is not None and not has_optimum(workload.function):
        problems.append(Problem(f"{where}.stop", show(workload.stop), "nothing: without an optimum there is no gap"))
    return problems


def _start_problem(function: AnalyticFunction, start: Start, where: str) -> Problem | None:
    num = num_coordinates(function)
    point = f"point with {num} coordinate{'s' if num > 1 else ''}"
    if start.point is not None:
        if len(start.point) != num:
            return Problem(f"{where}.point", f"{len(start.point)} coordinates", str(num))
        if isinstance(function, InversePower) and start.point[0] <= 0:
            return Problem(f"{where}.point[0]", show(start.point[0]), "above 0")
        return None
    if isinstance(function, RiverValley):
        return _block_problem(function, start, point, where)
    if start.per_block is not None:
        return Problem(f"{where}.per_block", show(start.per_block), f"{'gap or ' if num == 1 else ''}{point}")
    if isinstance(function, Quadratic) and not (num == 1 and function.eigenvalues[0] > 0):
        return Problem(f"{where}.gap", show(start.gap), f"{point}: many points have this gap, or none")
    return None


def _block_problem(function: RiverValley, start: Start, point: str, where: str) -> Problem | None:
    if start.per_block is None:
        return Problem(f"{where}.gap", show(start.gap), f"per_block or {point}")
    river = start.per_block.river
    if isinstance(river, tuple) and len(river) != len(function.eigenvalues):
        return Problem(f"{where}.per_block.river", f"{len(river)} coordinates", str(len(function.eigenvalues)))
    return None

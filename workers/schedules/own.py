"""A schedule of the user's own: asked once for every update of the run, before the run."""

import math
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from schemas.warmups import PluginWarmup
from workers.plugins import PluginFailed, calling, load

TOLERANCE = 1e-9


def own_factors(warmup: PluginWarmup, warmup_steps: int, total_steps: int) -> NDArray[np.float64]:
    """float64[T]: what `f(step, warmup_steps, total_steps, **options)` says of each update.

    Raises:
        PluginMissing. PluginFailed: it raises, or a factor is no number in [0, 1]: `peak_lr` is the peak.
    """
    function = load("schedules", warmup.name).call
    factors = np.empty(total_steps)
    with calling("schedules", warmup.name):
        for step in range(total_steps):
            value = function(step, warmup_steps, total_steps, **warmup.options)
            factors[step] = _checked(value, step, warmup.name)
    return factors.clip(0.0, 1.0)


def _checked(value: object, step: int, name: str) -> float:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    number = float(value) if is_number else math.nan  # type: ignore[arg-type]
    if not -TOLERANCE <= number <= 1 + TOLERANCE:
        raise PluginFailed(
            f"schedule {name}: at step {step}: got {value!r:.60}, allowed a number from 0 to 1, the share of peak_lr"
        )
    return number

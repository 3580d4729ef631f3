"""How sure a mean difference over few seeds is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit  # scipy.stats costs a second at import


@dataclass(frozen=True)
class MeanInterval:
    """Mean of n independent values with its two-sided t interval, and the p value of "the mean is 0"."""

    mean: float
    low: float
    high: float
    sd: float
    n: int
    p: float


def mean_interval(values: Sequence[float] | np.ndarray, confidence: float) -> MeanInterval:
    """Student's t interval of the mean; limits and p are NaN for fewer than two values or a value that is not finite.

    Values that are all equal have an interval of no width, and p 0, or 1 where they are all 0.
    """
    x = np.asarray(values, dtype=float)
    n = len(x)
    if n == 0 or not np.isfinite(x).all():
        mean = float(x.sum() / n) if n and not (np.isposinf(x).any() and np.isneginf(x).any()) else math.nan
        return MeanInterval(mean, math.nan, math.nan, math.nan, n, math.nan)
    mean = float(x.mean())
    if n == 1:
        return MeanInterval(mean, math.nan, math.nan, math.nan, 1, math.nan)
    sd = float(x.std(ddof=1)) if np.ptp(x) > 0 else 0.0
    error = sd / math.sqrt(n)
    if error == 0.0:
        return MeanInterval(mean, mean, mean, 0.0, n, 1.0 if mean == 0.0 else 0.0)
    half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * error
    return MeanInterval(mean, mean - half, mean + half, sd, n, float(2 * stdtr(n - 1, -abs(mean) / error)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values (Scand. J. Statist. 6, 1979): rejecting those <= alpha errs anywhere at most at alpha.

    NaN stays NaN and still counts as a comparison that was made.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.full(len(p), math.nan)
    largest = 0.0
    for rank, index in enumerate(order):
        if not math.isnan(p[index]):
            largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
            adjusted[index] = largest
    return adjusted.tolist()


def seeds_needed(
    difference: float,
    sd: float,
    confidence: float,
    margin: float | None = None,
    comparisons: int = 1,
    power: float = 0.8,
) -> float:
    """Estimate of the paired seeds at which a verdict falls with probability `power`, if mean and sd stay as seen.

    The smaller of what shows the difference to be none of chance, and, where |difference| < margin, what shows it to
    be within the margin. n = ((z_alpha + z_power)/effect)^2 + z_alpha^2/2 (Guenther, Am. Stat. 35, 1981): within one
    or two seeds of the noncentral t. Infinite where nothing would tell.
    """
    if not (math.isfinite(difference) and math.isfinite(sd)) or sd == 0.0:
        return math.inf
    alpha = 1 - confidence
    needed = _paired_seeds(abs(difference) / sd, alpha / comparisons, power)
    if margin is not None and abs(difference) < margin:
        # both sides must be shown when the difference is near 0: half of the allowed failures to each
        needed = min(needed, _paired_seeds((margin - abs(difference)) / sd, alpha, 1 - (1 - power) / 2))
    return needed


def _paired_seeds(effect: float, alpha: float, power: float) -> float:
    if effect == 0.0:
        return math.inf
    z_alpha, z_power = float(ndtri(1 - alpha / 2)), float(ndtri(power))
    needed = ((z_alpha + z_power) / effect) ** 2 + z_alpha**2 / 2
    return max(2.0, math.ceil(needed)) if math.isfinite(needed) else math.inf

"""The warmup that a law asks for: its rate along the path that it would itself take, its length, its peak."""

from dataclasses import dataclass

import numpy as np

from workers.laws.power_law import Array

SATURATED = 0.95
"""The warmup is over where the rate is this share of the peak."""


@dataclass(frozen=True)
class Speed:
    """How fast the gap falls: -d gap / d(summed rate) = factor gap^power, measured; it holds momentum and noise."""

    factor: float
    power: float


@dataclass(frozen=True)
class LawPath:
    """B predicted paths. rates, gaps [B, T]: before each update. warmup_steps [B]: updates until the rate is there.

    peak [B]: the rate in the middle of the run, where the warmup is not to end later.
    """

    rates: Array
    gaps: Array
    peak: Array
    warmup_steps: Array


def fit_speed(gaps_N: Array, falls_N: Array) -> Speed:
    """Least squares of log(fall per summed rate) over log gap; points whose gap does not fall say nothing.

    Raises:
        ValueError: fewer than three points fall, or all at one gap.
    """
    good = np.isfinite(gaps_N) & np.isfinite(falls_N) & (gaps_N > 0) & (falls_N > 0)
    if good.sum() < 3 or np.ptp(np.log(gaps_N[good])) <= 0:
        raise ValueError("a loss that falls between at least three probe points")
    x, y = np.log(gaps_N[good]), np.log(falls_N[good])
    power = float(np.cov(x, y)[0, 1] / np.var(x, ddof=1))
    return Speed(float(np.exp(y.mean() - power * x.mean())), power)


def law_path(
    rho_B: Array, k0_B: Array, k_rho_B: Array, speed: Speed, *, start: float, lowest: float, scale: float, steps: int
) -> LawPath:
    """Follow rate = scale / (K0 + Krho gap^rho) from a gap of `start`, the gap falling at `speed`.

    d gap / d sigma = -a gap^q is integrated exactly over each update (Euler would overshoot where the rate is large).
    No gap below `lowest` is believed: the law was not measured there. The peak is the rate of half of the run.

    Args:
        rho_B, k0_B, k_rho_B: one law per path.
    """
    gap_B = np.full(len(rho_B), start)
    rates, gaps = np.empty((len(rho_B), steps)), np.empty((len(rho_B), steps))
    for step in range(steps):
        rate_B = scale / (k0_B + k_rho_B * gap_B**rho_B)
        rates[:, step], gaps[:, step] = rate_B, gap_B
        gap_B = np.maximum(_fallen(gap_B, rate_B, speed), min(lowest, start))
    peak_B = rates[:, steps // 2]
    reached = rates >= SATURATED * peak_B[:, None]
    return LawPath(rates, gaps, peak_B, (reached.argmax(axis=1) + 1).astype(np.float64))


def _fallen(gap_B: Array, rate_B: Array, speed: Speed) -> Array:
    p = 1.0 - speed.power
    if abs(p) < 1e-9:
        return np.asarray(gap_B * np.exp(-speed.factor * rate_B))
    rest = gap_B**p - p * speed.factor * rate_B
    return np.asarray(np.where(rest > 0, np.maximum(rest, 1e-300) ** (1.0 / p), 0.0))

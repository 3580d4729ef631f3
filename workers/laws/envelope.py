"""The upper envelope K0 + Krho gap^rho: quantile regression, because the law is a bound and no trend."""

import numpy as np

from workers.laws.least_squares import fit_power
from workers.laws.power_law import Array, PowerLaw

_ZOOMS = 4


def fit_envelope(gap_N: Array, curvature_N: Array, quantile: float = 0.95) -> PowerLaw:
    """The law above which 1 - quantile of the points lie: least pinball loss of log curvature (Koenker and Bassett,
    Econometrica 46, 1978) over rho in [0.05, 8], K0 >= 0, Krho >= 0.

    Given the shape, the level is the quantile of log curvature - log(shape); the shape is searched on a grid that is
    narrowed around the best point. quantile = 1 is the lowest law of the best shape that no point breaks.
    """
    s, t = np.log(gap_N), np.log(curvature_N)
    rho = np.geomspace(0.05, 8.0, 17)
    bends = np.linspace(s.min() - 1.0, s.max(), 9)
    # The shape of the trend first: where the gaps span many decades the grid is too coarse to meet the bend.
    trend = fit_power(gap_N, curvature_N).law()
    best: tuple[float, float, float | None, float] = (np.inf, 0.0, None, 0.0)
    if trend.k_rho > 0:
        bend_of_trend = np.log(trend.k0 / trend.k_rho) / trend.rho if trend.k0 > 0 else None
        best = _best_of(s, t, np.array([trend.rho]), bend_of_trend, quantile)
    for zoom in range(_ZOOMS):
        tried: list[float | None] = [None, *bends] if zoom == 0 or best[2] is None else list(bends)
        for bend in tried:
            best = min(best, _best_of(s, t, rho, bend, quantile), key=lambda found: found[0])
        width = (8.0 / 0.05) ** (1.0 / 16 / 4**zoom)
        rho = np.clip(best[1] * np.geomspace(1.0 / width, width, 9), 0.02, 20.0)
        if best[2] is not None:
            half = (np.ptp(s) + 1.0) / 8 / 4**zoom
            bends = np.linspace(best[2] - half, best[2] + half, 7)
    constant = _pinball(t[None, :], quantile)
    if constant[0][0] <= best[0] * (1 + 1e-9) + 1e-15:
        return PowerLaw(0.0, float(np.exp(constant[1][0])), 0.0)
    _, found_rho, found_bend, level = best
    k0 = 0.0 if found_bend is None else float(np.exp(level + found_rho * found_bend))
    law = PowerLaw(float(found_rho), k0, float(np.exp(level)))
    if quantile < 1.0:
        return law
    return law.scaled(float((curvature_N / law.at(gap_N)).max()))


def _best_of(
    s: Array, t: Array, rho: Array, bend: float | None, quantile: float
) -> tuple[float, float, float | None, float]:
    shape = rho[:, None] * s
    if bend is not None:
        shape = rho[:, None] * bend + np.logaddexp(0.0, rho[:, None] * (s - bend))
    losses, levels = _pinball(t - shape, quantile)
    index = int(losses.argmin())
    return float(losses[index]), float(rho[index]), bend, float(levels[index])


def _pinball(u_GN: Array, quantile: float) -> tuple[Array, Array]:
    """Mean pinball loss and level of each row about its own quantile; at quantile 1 the mean distance below the top."""
    level = np.quantile(u_GN, quantile, axis=1)
    rest = u_GN - level[:, None]
    return np.where(rest >= 0, quantile * rest, (quantile - 1.0) * rest if quantile < 1.0 else -rest).mean(
        axis=1
    ), level

"""The optimum fitted jointly with the exponent: curvature = K (loss - c)^rho with c unknown."""

from dataclasses import dataclass

import numpy as np

from workers.laws.power_law import Array

_NEAR, _FAR = 1e-6, 10.0
"""How close below the smallest loss c may lie, and how far, in units of the range of the losses."""
_POINTS = 161


@dataclass(frozen=True)
class OptimumFits:
    """B fits, each field [B]; at_rim: c went as far below the losses as it was allowed, so that nothing holds it."""

    optimum: Array
    rho: Array
    k_rho: Array
    sse: Array
    at_rim: Array


def fit_optimum(loss_N: Array, y_N: Array, weights_BN: Array | None = None) -> OptimumFits:
    """Minimise sum_n w_n (log y_n - log K - rho log(loss_n - c))^2 over K, rho >= 0 and c < min loss.

    K0 is 0 here: with rho = 1, K0 + K1 (loss - c) has the same values for every c, so that both cannot be fitted.
    With a wrong optimum the log-log slope reads rho loss / (loss - c) (design/theory.md, section 3). For each of 161
    distances of c below the smallest loss the rest is a straight line; the best is refined between its neighbours.
    """
    weights_BN = np.ones((1, len(loss_N))) if weights_BN is None else weights_BN
    t = np.log(y_N)
    lowest, span = float(loss_N.min()), float(np.ptp(loss_N)) or 1.0
    grid = np.geomspace(_NEAR, _FAR, _POINTS)
    distances_BD = np.broadcast_to(grid, (len(weights_BN), _POINTS))
    best_B = np.zeros(len(weights_BN), dtype=np.int64)
    for _ in range(4):  # each time between the neighbours of the best
        sse_BD = np.stack(
            [_lines(loss_N - lowest + span * column[:, None], t, weights_BN)[2] for column in distances_BD.T], axis=1
        )
        best_B = sse_BD.argmin(axis=1)
        rows = np.arange(len(best_B))
        low = distances_BD[rows, np.maximum(best_B - 1, 0)]
        high = distances_BD[rows, np.minimum(best_B + 1, distances_BD.shape[1] - 1)]
        found_B = distances_BD[rows, best_B]
        distances_BD = low[:, None] * (high / low)[:, None] ** np.linspace(0.0, 1.0, 21)
    slope, level, sse = _lines(loss_N - lowest + span * found_B[:, None], t, weights_BN)
    at_rim = (found_B >= _FAR * 0.999) | (found_B <= _NEAR * 1.001)
    return OptimumFits(lowest - span * found_B, slope, np.exp(level), sse, at_rim)


def _lines(gap_BN: Array, t: Array, weights_BN: Array) -> tuple[Array, Array, Array]:
    """Slope (at least 0), level and sum of squares of t over log gap, for each row of weights."""
    s = np.log(gap_BN)
    total = weights_BN.sum(axis=1)
    mean_s, mean_t = (weights_BN * s).sum(axis=1) / total, (weights_BN @ t) / total
    ds, dt = s - mean_s[:, None], t[None, :] - mean_t[:, None]
    var, cov = (weights_BN * ds * ds).sum(axis=1), (weights_BN * ds * dt).sum(axis=1)
    slope = np.maximum(np.divide(cov, var, out=np.zeros_like(cov), where=var > 0), 0.0)
    sse = (weights_BN * (dt - slope[:, None] * ds) ** 2).sum(axis=1)
    return slope, mean_t - slope * mean_s, sse

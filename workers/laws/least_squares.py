"""K0 + Krho z^rho by least squares in log space, for many weightings of the same points at once."""

from dataclasses import dataclass

import numpy as np

from workers.laws.power_law import Array, PowerLaw

RHO_LOW, RHO_HIGH = 0.02, 20.0
_GRID_RHO = np.geomspace(0.1, 5.0, 15)
_GRID_BENDS = 11
_BELOW = 10.0
"""How far (in log z, times 1/rho) below the points the bend may lie: beyond, K0 is nothing."""
_PLAIN = 1e-6
"""K0 is said only where it lowers the sum of squares by more than this share."""


@dataclass(frozen=True)
class PowerFits:
    """B fits, one for each row of weights: each field [B]. sse: weighted squared residuals of log y; sst: a constant's.

    A fit with k_rho = 0 is a constant, whose rho says nothing and is 0.
    """

    rho: Array
    k0: Array
    k_rho: Array
    sse: Array
    sst: Array

    def law(self, index: int = 0) -> PowerLaw:
        """One of them."""
        return PowerLaw(float(self.rho[index]), float(self.k0[index]), float(self.k_rho[index]))

    def at(self, z_N: Array) -> Array:
        """[B, N]: K0 + Krho z^rho of each fit."""
        return self.k0[:, None] + self.k_rho[:, None] * np.power(z_N[None, :], self.rho[:, None])


def fit_power(z_N: Array, y_N: Array, weights_BN: Array | None = None, *, iterations: int = 60) -> PowerFits:
    """Minimise sum_n w_n (log y_n - log(K0 + Krho z_n^rho))^2 over rho in (0.02, 20), K0 >= 0, Krho >= 0.

    Written as log Krho + log(x0^rho + z^rho): Krho follows in closed form, and (rho, log x0) by Levenberg-Marquardt
    from the best point of a grid. K0 = 0 and Krho = 0 are tried apart, as they lie at the rim. Cost: about
    N (165 + B iterations) evaluations of a logarithm.

    Args:
        z_N: the regressor, above 0. y_N: the response, above 0. weights_BN: rows >= 0, not all 0; None is one row of 1.
    """
    weights_BN = np.ones((1, len(z_N))) if weights_BN is None else weights_BN
    with np.errstate(under="ignore", over="ignore"):
        return _fit(np.log(z_N), np.log(y_N), weights_BN, iterations)


def _fit(log_z: Array, log_y: Array, weights_BN: Array, iterations: int) -> PowerFits:
    total_B = weights_BN.sum(axis=1)
    shift_s, shift_t = float(log_z.mean()), float(log_y.mean())
    s, t = log_z - shift_s, log_y - shift_t
    sst_B = _spread(t[None, :], weights_BN, total_B)
    power_rho_B, power_sse_B = _pure_power(s, t, weights_BN, total_B, sst_B)
    if np.ptp(s) > 0:
        start_B2 = _best_of_grid(s, t, weights_BN, total_B)
        rho_B, bend_B, sse_B = _marquardt(s, t, weights_BN, total_B, start_B2, iterations)
    else:
        rho_B, bend_B, sse_B = np.ones_like(total_B), np.zeros_like(total_B), np.full_like(total_B, np.inf)
    tiny_B = 1e-26 * total_B
    plain_B = power_sse_B <= sse_B * (1 + _PLAIN) + tiny_B
    rho_B, sse_B = np.where(plain_B, power_rho_B, rho_B), np.where(plain_B, power_sse_B, sse_B)
    constant_B = (sst_B <= sse_B * (1 + _PLAIN) + tiny_B) | (rho_B <= 0)
    shape_BN = np.where(plain_B[:, None], rho_B[:, None] * s, _log_shape(s, rho_B, bend_B)[0])
    level_B = ((t - shape_BN) * weights_BN).sum(axis=1) / total_B
    k_rho_B = np.where(constant_B, 0.0, np.exp(level_B + shift_t - rho_B * shift_s))
    k0_B = np.where(plain_B, 0.0, np.exp(level_B + shift_t + rho_B * bend_B))
    mean_B = (t * weights_BN).sum(axis=1) / total_B
    return PowerFits(
        rho=np.where(constant_B, 0.0, rho_B),
        k0=np.where(constant_B, np.exp(mean_B + shift_t), k0_B),
        k_rho=k_rho_B,
        sse=np.where(constant_B, sst_B, sse_B),
        sst=sst_B,
    )


def _spread(u_BN: Array, weights_BN: Array, total_B: Array) -> Array:
    mean_B = (u_BN * weights_BN).sum(axis=1) / total_B
    return np.asarray((weights_BN * (u_BN - mean_B[:, None]) ** 2).sum(axis=1))


def _pure_power(s: Array, t: Array, weights_BN: Array, total_B: Array, sst_B: Array) -> tuple[Array, Array]:
    """Slope and sum of squares of a straight line in log-log, the slope at least 0."""
    mean_s, mean_t = (weights_BN @ s) / total_B, (weights_BN @ t) / total_B
    var = np.maximum(weights_BN @ (s * s) - total_B * mean_s**2, 0.0)
    cov = weights_BN @ (s * t) - total_B * mean_s * mean_t
    slope = np.divide(cov, var, out=np.zeros_like(cov), where=var > 1e-12 * total_B)
    slope = np.where(slope >= RHO_LOW, np.minimum(slope, RHO_HIGH), 0.0)
    sse_B = _spread(t[None, :] - slope[:, None] * s, weights_BN, total_B)
    return slope, np.where(slope > 0, sse_B, sst_B)


def _best_of_grid(s: Array, t: Array, weights_BN: Array, total_B: Array) -> Array:
    """[B, 2]: the (log rho, bend) of the grid with the smallest sum of squares."""
    bends = np.linspace(s.min() - 1.0, s.max(), _GRID_BENDS)
    rho_G, bend_G = (grid.ravel() for grid in np.meshgrid(_GRID_RHO, bends, indexing="ij"))
    residual_GN = t - _log_shape(s, rho_G, bend_G)[0]
    sse_BG = weights_BN @ (residual_GN**2).T - (weights_BN @ residual_GN.T) ** 2 / total_B[:, None]
    best_B = sse_BG.argmin(axis=1)
    return np.stack([np.log(rho_G[best_B]), bend_G[best_B]], axis=1)


def _log_shape(s: Array, rho_B: Array, bend_B: Array) -> tuple[Array, Array]:
    """[B, N] log(x0^rho + z^rho), and the share of it that is x0^rho; bend = log x0."""
    distance = rho_B[:, None] * (s[None, :] - bend_B[:, None])
    return rho_B[:, None] * bend_B[:, None] + np.logaddexp(0.0, distance), 1.0 / (1.0 + np.exp(distance))


def _marquardt(
    s: Array, t: Array, weights_BN: Array, total_B: Array, start_B2: Array, iterations: int
) -> tuple[Array, Array, Array]:
    def bounded(point_B2: Array) -> Array:
        log_rho = np.clip(point_B2[:, 0], np.log(RHO_LOW), np.log(RHO_HIGH))
        low = s.min() - _BELOW / np.exp(log_rho)
        return np.stack([log_rho, np.clip(point_B2[:, 1], low, s.max() + 2.0)], axis=1)

    point_B2 = bounded(start_B2)
    damping_B = np.full(len(point_B2), 1e-3)
    residual, slopes, sse_B = _residual(s, t, weights_BN, total_B, point_B2)
    for _ in range(iterations):
        step_B2 = _step(residual, slopes, weights_BN, damping_B)
        tried_B2 = bounded(point_B2 + step_B2)
        tried = _residual(s, t, weights_BN, total_B, tried_B2)
        better_B = tried[2] < sse_B
        point_B2 = np.where(better_B[:, None], tried_B2, point_B2)
        residual = np.where(better_B[:, None], tried[0], residual)
        slopes = np.where(better_B[None, :, None], tried[1], slopes)
        sse_B = np.where(better_B, tried[2], sse_B)
        damping_B = np.clip(np.where(better_B, damping_B / 5, damping_B * 6), 1e-12, 1e12)
        if ((np.abs(step_B2).max(axis=1) < 1e-7) | (damping_B > 1e5)).all():
            break
    return np.exp(point_B2[:, 0]), point_B2[:, 1], sse_B


def _residual(s: Array, t: Array, weights_BN: Array, total_B: Array, point_B2: Array) -> tuple[Array, Array, Array]:
    """Residuals [B, N] about their best level, their derivatives [2, B, N], and the weighted sum of squares [B]."""
    rho_B, bend_B = np.exp(point_B2[:, 0]), point_B2[:, 1]
    shape, share = _log_shape(s, rho_B, bend_B)
    by_rho = rho_B[:, None] * (share * bend_B[:, None] + (1.0 - share) * s)
    by_bend = rho_B[:, None] * share

    def centred(u: Array) -> Array:
        return np.asarray(u - ((u * weights_BN).sum(axis=1) / total_B)[:, None])

    residual = centred(t - shape)
    return residual, np.stack([centred(by_rho), centred(by_bend)]), (weights_BN * residual**2).sum(axis=1)


def _step(residual: Array, slopes: Array, weights_BN: Array, damping_B: Array) -> Array:
    """[B, 2]: the damped Gauss-Newton step of each fit."""
    weighted = slopes * weights_BN
    aa, ab, bb = ((weighted[i] * slopes[j]).sum(axis=1) for i, j in ((0, 0), (0, 1), (1, 1)))
    ga, gb = (weighted * residual).sum(axis=2)
    floor = 1e-15 * (aa + bb) + 1e-300
    aa, bb = aa * (1 + damping_B) + floor, bb * (1 + damping_B) + floor
    determinant = aa * bb - ab * ab
    step = np.stack([bb * ga - ab * gb, aa * gb - ab * ga], axis=1)
    known = determinant[:, None] > 0
    return np.asarray(np.clip(np.divide(step, determinant[:, None], out=np.zeros_like(step), where=known), -2.0, 2.0))

"""What else curvature may follow than the gap, and how well each of them tells what it has not seen."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from workers.laws.least_squares import fit_power
from workers.laws.points import Integers, LawPoints
from workers.laws.power_law import Array

Regressor = Literal["gap", "gradient_norm", "step", "two_over_lr"]
REGRESSORS: tuple[Regressor, ...] = ("gap", "gradient_norm", "step", "two_over_lr")
NAMED: dict[Regressor, str] = {
    "gap": "the gap",
    "gradient_norm": "the gradient norm",
    "step": "the step alone",
    "two_over_lr": "2/lr (edge of stability)",
}
ENVELOPE_QUANTILE = 0.95


@dataclass(frozen=True)
class HeldOut:
    """What was told of each point by a fit that had not seen its fold.

    errors_N: log curvature minus what was told of it; NaN where nothing could be told. constant_N: the same with the
    mean of what was seen. violated: share of points above the level below which 95 % of what was seen lie.
    r2_within: R^2 of the fit to all points, none held out.
    """

    errors_N: Array
    constant_N: Array
    violated: float
    r2_within: float

    @property
    def r2(self) -> float:
        """1 - squared error / squared error of a constant: 1 is exact, 0 and below is no better than no law at all."""
        known = np.isfinite(self.errors_N) & np.isfinite(self.constant_N)
        worst = float((self.constant_N[known] ** 2).sum())
        return 1.0 - float((self.errors_N[known] ** 2).sum()) / worst if worst > 0 else float("nan")


def values_of(regressor: Regressor, points: LawPoints) -> Array:
    """The regressor [N]; NaN where it was not measured."""
    if regressor == "two_over_lr":
        return np.asarray(np.divide(2.0, points.lr, out=np.full(len(points), np.nan), where=points.lr > 0))
    if regressor == "step":
        return points.step.astype(np.float64)
    return points.gap if regressor == "gap" else points.gradient_norm


def held_out(regressor: Regressor, points: LawPoints, fold_N: Integers) -> HeldOut:
    """Fit on all folds but one, tell that one, for each fold; with one fold nothing is held out.

    Of gap, gradient norm and 2/lr the shape is K0 + K z^rho, the same for all three. Of the step it is free: the mean
    over the other trials at that step, between two steps a straight line.
    """
    folds, index_N = np.unique(fold_N, return_inverse=True)
    t, rows = np.log(points.curvature), np.arange(len(points))
    seen_FN = np.ones((len(folds) + 1, len(points)))
    seen_FN[index_N, rows] = 0.0  # the last row has seen all
    seen_FN = seen_FN if len(folds) > 1 else seen_FN[1:]
    if regressor == "step":
        told_FN = np.stack([_by_step(points.step, t, seen > 0) for seen in seen_FN])
    else:
        z = values_of(regressor, points)
        told_FN = np.log(fit_power(z, points.curvature, seen_FN, iterations=30).at(z))
    residual_FN, whole = t - told_FN, float(((t - t.mean()) ** 2).sum())
    r2 = 1.0 - float((residual_FN[-1] ** 2).sum()) / whole if whole > 0 else float("nan")
    if len(folds) < 2:
        nothing = np.full(len(points), np.nan)
        return HeldOut(nothing, nothing, float("nan"), r2)
    constant_F = (seen_FN[:-1] @ t) / seen_FN[:-1].sum(axis=1)
    above = [
        residual[index_N == fold] > np.quantile(residual[index_N != fold], ENVELOPE_QUANTILE) + 1e-9
        for fold, residual in enumerate(residual_FN[:-1])
    ]
    violated = float(np.concatenate(above).mean())
    return HeldOut(residual_FN[index_N, rows], t - constant_F[index_N], violated, r2)


def _by_step(step_N: Integers, t: Array, seen_N: np.ndarray) -> Array:
    steps, where = np.unique(step_N[seen_N], return_inverse=True)
    mean = np.bincount(where, t[seen_N]) / np.bincount(where)
    return np.interp(step_N, steps, mean)

"""The constants of the ABC condition on gradient noise, from readings of its variance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ABC:
    """a, b, c >= 0 of E ||g - grad||^2 = a gap + b ||grad||^2 + c over `n` readings; NaN where n is 0.

    `violated`: the share of readings above the fitted value, as the condition is a bound and this a fit; `largest`: of
    reading over fit, the factor that would make it one.
    """

    a: float
    b: float
    c: float
    violated: float
    largest: float
    n: int


def fit_abc(variance: FloatArray, gap: FloatArray, squared_gradient_norm: FloatArray) -> ABC:
    """Non-negative least squares of the relative residual, over readings that are finite and above 0.

    E ||g - grad f||^2 <= A (f - f*) + B ||grad f||^2 + C (Khaled and Richtarik, arXiv 2002.03329). Residuals are
    relative, as variances span powers of ten along a run. On a quadratic of one curvature gap and squared gradient are
    proportional, and nothing tells A from B.

    >>> gap = np.array([8.0, 2.0, 0.5, 0.1])
    >>> fit_abc(3.0 * gap + 0.25, gap, np.array([1.0, 4.0, 0.3, 2.0])).a.round(6)
    np.float64(3.0)
    """
    usable = np.isfinite(variance) & (variance > 0) & np.isfinite(gap) & np.isfinite(squared_gradient_norm)
    if not usable.any():
        return ABC(np.nan, np.nan, np.nan, np.nan, np.nan, 0)
    y = variance[usable]
    columns = np.stack([gap[usable], squared_gradient_norm[usable].clip(min=0.0), np.ones_like(y)], 1)
    columns = columns.clip(min=0.0) / y[:, None]
    size = np.where(columns.max(0) > 0, columns.max(0), 1.0)
    found, _ = nnls(columns / size, np.ones_like(y))
    ratio = 1 / np.maximum(columns @ (found / size), np.finfo(float).tiny)
    a, b, c = (found / size).tolist()
    return ABC(a, b, c, float((ratio > 1 + 1e-9).mean()), float(ratio.max()), len(y))

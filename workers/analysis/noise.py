"""The constants of the ABC condition on gradient noise, from readings of its variance along the study's trials."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls

from workers.analysis.cells import CellTable
from workers.analysis.question import Question
from workers.analysis.ranking import Group
from workers.analysis.reading import ResultFolder

_COLUMNS = ("trial_id", "probe", "value", "loss", "gradient_norm", "batch_size")
DEFAULT_COUNT = 8
"""Of batches (schemas.probes.NoiseBatch)."""

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


@dataclass(frozen=True)
class NoiseFit:
    """Of one group and one gradient_noise probe: the constants for batches of `batch_size`, over all done trials.

    scale: the median noise scale in examples, over readings that have one; NaN where none has.
    """

    label: str
    probe: str
    batch_size: int
    abc: ABC
    scale: float


def noise_fits(
    folder: ResultFolder, question: Question, groups: Sequence[Group], table: CellTable
) -> tuple[NoiseFit, ...]:
    """One per group and probe that was taken; the gap is the probe loss less the optimum, 0 where that is not known.

    Points of one run are not independent, so that no interval is given.
    """
    names = [name for name in question.probes if question.probe_kind(name) == "gradient_noise"]
    if not names:
        return ()
    trials = table.trials[table.trials["done"].to_numpy()].drop_duplicates("trial_id")
    rows = folder.rows("probes", _COLUMNS).merge(trials[["trial_id", "group"]], on="trial_id")
    fits = []
    for group in groups:
        mine = rows[(rows["group"] == group.label).to_numpy()]
        for name in names:
            count = int((question.probes[name].get("batch") or {}).get("count") or DEFAULT_COUNT)
            optimum = question.optimum(group.workload_entry) or 0.0
            fits += _fit(mine, group.label, name, optimum, count)
    return tuple(fits)


def _fit(rows: pd.DataFrame, label: str, name: str, optimum: float, count: int) -> list[NoiseFit]:
    variance = rows[(rows["probe"] == f"{name}.variance").to_numpy()]
    if variance.empty:
        return []
    value = variance["value"].to_numpy()
    # the mean of `count` gradients has noise of its own
    square = variance["gradient_norm"].to_numpy() ** 2 - value / count
    scale = rows.loc[(rows["probe"] == f"{name}.scale").to_numpy(), "value"]
    abc = fit_abc(value, variance["loss"].to_numpy() - optimum, square)
    return [NoiseFit(label, name, int(variance["batch_size"].iloc[0]), abc, float(scale.median()))]

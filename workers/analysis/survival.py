"""How many steps a trial takes to its target, when some never reach it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from schemas.analysis import HIGHER_IS_BETTER

MISSED = -1
"""What stands in the column `steps_to_target` of a trial that did not meet the target."""


@dataclass(frozen=True)
class StepsToTarget:
    """`reached` of `n` trials met the target; `median` steps (Kaplan-Meier), NaN where fewer than half would."""

    reached: int
    n: int
    median: float


def steps_to_target(rows: pd.DataFrame, metric: str, target: float) -> pd.Series:
    """`step` of each trial's first row that meets `target`, -1 where none does; int64, indexed by trial_id.

    `rows` is the table `steps` for `train_loss`, else `evaluations`, in any order. A loss meets the target at or
    below it, an accuracy at or above it; NaN never does.

    Raises:
        ValueError: `rows` has no column `metric` (test metrics are measured at the end alone).
    """
    if metric not in rows.columns:
        raise ValueError(f"metric={metric}: must be a column of the rows ({', '.join(map(str, rows.columns))})")
    values = rows[metric].to_numpy(dtype=float, na_value=np.nan)
    meets = values >= target if metric in HIGHER_IS_BETTER else values <= target
    first = rows.loc[meets].groupby("trial_id", observed=True)["step"].min()
    every_trial = pd.Index(sorted(rows["trial_id"].unique()), name="trial_id")
    return first.reindex(every_trial, fill_value=MISSED).astype("int64").rename("steps_to_target")


def kaplan_meier_median(times: Sequence[float] | np.ndarray, reached: Sequence[bool] | np.ndarray) -> float:
    """The first time at which the Kaplan-Meier estimate of "not there yet" is at most 1/2; NaN where it never is.

    `times[i]` is when trial i reached its target, or, with `reached[i]` False, until when it was seen not to
    (right-censored; J. Am. Stat. Assoc. 53, 1958). At equal times, reaching comes before censoring.
    """
    times, reached = np.asarray(times, dtype=float), np.asarray(reached, dtype=bool)
    remaining = 1.0
    for time in np.unique(times[reached]):
        at_risk = int((times >= time).sum())
        remaining *= 1.0 - int((reached & (times == time)).sum()) / at_risk
        if remaining <= 0.5 + 1e-12:  # 1 - 2/4 x ... in floating point
            return float(time)
    return math.nan


def steps_by_cell(trials: pd.DataFrame) -> list[StepsToTarget]:
    """The steps to target of each cell 0..K-1 (column `cell` of scored trials), no trial dropped.

    A finished miss (diverged, stalled or too slow) counts as not reached however long one waits; a trial that still
    runs, or was cancelled, is censored at the steps that it made. One that has made no step yet is not in `n`.
    """
    cells, done = trials["cell"].to_numpy(), trials["done"].to_numpy(dtype=bool)
    steps, made = trials["steps_to_target"].to_numpy(dtype=float), trials["steps_completed"].to_numpy(dtype=float)
    reached = steps >= 0
    times = np.where(reached, steps, np.where(done, np.inf, made))
    order = np.argsort(cells, kind="stable")
    bounds = np.searchsorted(cells[order], np.arange(cells.max(initial=-1) + 2))
    summaries = []
    for first, last in pairwise(bounds):
        rows = order[first:last]
        rows = rows[done[rows] | (made[rows] > 0)]
        median = kaplan_meier_median(times[rows], reached[rows])
        summaries.append(StepsToTarget(int(reached[rows].sum()), len(rows), median))
    return summaries

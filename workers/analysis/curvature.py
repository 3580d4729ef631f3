"""What was measured of curvature in one workload and optimizer: at the start, after warmup, and along the gap."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workers.analysis.cells import CellTable
from workers.analysis.question import Question
from workers.analysis.ranking import Contender, Group
from workers.analysis.reading import ResultFolder

_COLUMNS = ("trial_id", "step", "probe", "value", "converged", "loss")
_MIN_POINTS_OF_A_SLOPE = 3


@dataclass(frozen=True)
class Spread:
    """Median, lowest and highest over `n` seeds; NaN where n is 0."""

    median: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class AfterWarmup:
    """Sharpness at the first point behind a schedule's warmup, at its largest usable peak LR.

    Of `n` seeds with a converged point there and at the start, `lower` have a smaller value than at the start.
    `baseline`: the baseline's median at the same step, at its own largest usable peak LR.
    """

    schedule: str
    rate: float
    step: int
    median: float
    lower: int
    n: int
    baseline: float


@dataclass(frozen=True)
class Curvature:
    """start: sharpness before the first update. points, converged: sharpness points of the cells that were looked at.

    slopes: of log secant smoothness over log gap, least squares in each trial at the best peak LRs, over trials;
    rising: how many are above 0.
    """

    start: Spread
    points: int
    converged: int
    after_warmup: tuple[AfterWarmup, ...]
    slopes: Spread
    rising: int


def curvature(
    folder: ResultFolder, question: Question, groups: Sequence[Group], table: CellTable
) -> tuple[Curvature, ...]:
    """One per group, from its cells at the best and at the largest usable peak LRs."""
    cells = {cell for group in groups for each in group.contenders for cell in (each.best_cell, each.usable.cell)}
    trials = table.trials[(table.trials["cell"].isin(cells) & table.trials["done"]).to_numpy()]
    rows = folder.rows("probes", _COLUMNS, trials["trial_id"].tolist())
    rows = rows.merge(trials[["trial_id", "cell", "cluster", "warmup_steps"]], on="trial_id")
    kinds = rows["probe"].map(question.probe_kind)
    sharpness, secant = (rows[(kinds == kind).to_numpy()] for kind in ("sharpness", "secant_smoothness"))
    return tuple(_of_group(group, question, sharpness, secant) for group in groups)


def _of_group(group: Group, question: Question, sharpness: pd.DataFrame, secant: pd.DataFrame) -> Curvature:
    best = {each.best_cell for each in group.contenders}
    points = sharpness[sharpness["cell"].isin(best | {each.usable.cell for each in group.contenders}).to_numpy()]
    known = points[(points["converged"] & np.isfinite(points["value"])).to_numpy()]
    # a seed's start is the same in all of its trials
    start_C = known[(known["step"] == 0).to_numpy()].groupby("cluster")["value"].median()
    slopes = _slopes(secant[secant["cell"].isin(best).to_numpy()], question.optimum(group.workload_entry) or 0.0)
    after = [_after_warmup(each, group, known, start_C) for each in group.contenders if not each.is_baseline]
    return Curvature(
        start=_spread(start_C.to_numpy()),
        points=len(points),
        converged=int(points["converged"].sum()),
        after_warmup=tuple(each for each in after if each is not None),
        slopes=_spread(slopes),
        rising=int((slopes > 0).sum()),
    )


def _after_warmup(contender: Contender, group: Group, known: pd.DataFrame, start_C: pd.Series) -> AfterWarmup | None:
    own = known[(known["cell"] == contender.usable.cell).to_numpy()]
    behind = own[((own["warmup_steps"] > 1) & (own["step"] >= own["warmup_steps"])).to_numpy()]
    if behind.empty:
        return None
    step = int(behind["step"].min())
    now_C = behind[(behind["step"] == step).to_numpy()].groupby("cluster")["value"].median()
    both = now_C.index.intersection(start_C.index)
    if both.empty:
        return None
    baseline = group.baseline
    of_baseline = known[
        ((known["cell"] == (baseline.usable.cell if baseline else -1)) & (known["step"] == step)).to_numpy()
    ]
    return AfterWarmup(
        schedule=contender.schedule,
        rate=contender.usable.rate,
        step=step,
        median=float(now_C[both].median()),
        lower=int((now_C[both] < start_C[both]).sum()),
        n=len(both),
        baseline=float(of_baseline["value"].median()),
    )


def _slopes(secant: pd.DataFrame, optimum: float) -> np.ndarray:
    """One slope per trial: whole trials are the observations, as points of one run are not independent."""
    rows = secant.assign(gap=secant["loss"].to_numpy() - optimum)
    rows = rows[((rows["gap"] > 0) & (rows["value"] > 0) & np.isfinite(rows["value"])).to_numpy()]
    slopes = []
    for _, trial in rows.groupby("trial_id", sort=True):
        x, y = np.log(trial["gap"].to_numpy()), np.log(trial["value"].to_numpy())
        if len(x) >= _MIN_POINTS_OF_A_SLOPE and np.ptp(x) > 0:
            slopes.append(float(np.cov(x, y)[0, 1] / np.var(x, ddof=1)))
    return np.array(slopes)


def _spread(values: np.ndarray) -> Spread:
    if not len(values):
        return Spread(math.nan, math.nan, math.nan, 0)
    return Spread(float(np.median(values)), float(values.min()), float(values.max()), len(values))

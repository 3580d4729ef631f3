"""Whether curvature follows K0 + Krho gap^rho in a study: one fit per workload, optimizer, probe and phase."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workers.analysis.cells import CellTable
from workers.analysis.question import Question
from workers.analysis.ranking import Group
from workers.analysis.reading import ResultFolder
from workers.laws.judging import LawFit, Range, judge
from workers.laws.optimum_fit import fit_optimum
from workers.laws.points import LawPoints

RESPONSES = ("hessian_norm", "sharpness", "secant_smoothness", "preconditioned_sharpness")
"""Kinds of probes that measure curvature, the one that the law is about first."""
BEFORE, AFTER, WHOLE = "before the peak", "after the peak", "all"
_COLUMNS = ("trial_id", "step", "probe", "value", "converged", "loss", "gradient_norm", "lr")
_OPTIMUM_POINTS, _OPTIMUM_DRAWS = 300, 40


@dataclass(frozen=True)
class Law:
    """One fit. response: kind of the probe. phase: `all`, `before the peak` (warmup) or `after the peak`.

    optimum: what the gap is counted from, and `optimum_kind` (given, zero, fitted) says why. joint_optimum, joint_rho:
    of K (loss - c)^rho with c fitted, NaN where it was not asked for or nothing holds it.
    """

    response: str
    phase: str
    optimum_kind: str
    optimum: float
    joint_optimum: Range
    joint_rho: float
    fit: LawFit


@dataclass(frozen=True)
class GroupLaws:
    """The laws of one workload and optimizer, the main one first, and the points that it stands on."""

    laws: tuple[Law, ...]
    points: LawPoints


def measure_laws(
    folder: ResultFolder, question: Question, groups: Sequence[Group], table: CellTable
) -> dict[str, GroupLaws]:
    """Group label -> its laws; without a group in which no curvature was measured. Every done trial takes part.

    The main response is fitted in both phases too; the others as a whole.
    """
    kinds = {question.probe_kind(name) for name in question.probes} & set(RESPONSES)
    if not kinds:
        return {}
    rows = folder.rows("probes", _COLUMNS)
    rows = rows[rows["probe"].map(question.probe_kind).isin(kinds).to_numpy()]
    found = {}
    for group in groups:
        trials = table.trials[((table.trials["group"] == group.label) & table.trials["done"]).to_numpy()]
        if not question.seeds_matter(group.workload_entry):
            trials = trials.drop_duplicates("cell")  # the others are the same trial
        own = rows.merge(trials[["trial_id", "cell", "cluster", "rate", "warmup_steps"]], on="trial_id")
        laws = _of_group(group, question, own) if len(own) else None
        if laws is not None:
            found[group.label] = laws
    return found


def responses_of(question: Question, group: Group) -> tuple[str, ...]:
    """The kinds in the order in which they count: what an optimizer preconditions is measured preconditioned."""
    if question.no_threshold(group.optimizer_entry, mup=group.is_mup) is None:
        return RESPONSES
    return (RESPONSES[-1], *RESPONSES[:-1])


def _of_group(group: Group, question: Question, rows: pd.DataFrame) -> GroupLaws | None:
    laws: list[Law] = []
    main: LawPoints | None = None
    draws = question.seeds_matter(group.workload_entry)
    how: dict[str, Any] = {
        "unit": "seed" if draws else "trial",
        "one_path": not draws and question.has_coordinates(group.workload_entry),
    }
    for response in responses_of(question, group):
        points, losses = _points(rows, response, question, group)
        if not len(points):
            continue
        kind, optimum, joint, rho = _optimum(points, losses, question, group, is_main=main is None)
        points = _with_gap(points, losses - optimum)
        laws.append(Law(response, WHOLE, kind, optimum, joint, rho, judge(points, **how)))
        if main is None:
            main = points
            for phase, mask in ((BEFORE, points.before_peak), (AFTER, ~points.before_peak)):
                if mask.any() and not mask.all():
                    laws.append(
                        Law(response, phase, kind, optimum, _NO_RANGE, math.nan, judge(points.where(mask), **how))
                    )
    return None if main is None else GroupLaws(tuple(laws), main)


_NO_RANGE = Range(math.nan, math.nan, math.nan)


def _points(rows: pd.DataFrame, response: str, question: Question, group: Group) -> tuple[LawPoints, np.ndarray]:
    """Points without a gap yet, and their losses. Of several probes of a kind the first; of its points the largest."""
    names = [name for name in question.probes if question.probe_kind(name) == response]
    of_kind = rows["probe"].isin(names[:1]) | rows["probe"].str.startswith(tuple(f"{name}." for name in names[:1]))
    own = rows[(of_kind & rows["converged"] & np.isfinite(rows["value"]) & np.isfinite(rows["loss"])).to_numpy()]
    own = own.sort_values(["trial_id", "step", "value"], kind="stable").drop_duplicates(
        ["trial_id", "step"], keep="last"
    )
    trial = own.groupby("trial_id", sort=True).ngroup().to_numpy(dtype=np.int64)
    seeds = own.groupby("cluster", sort=True).ngroup().to_numpy(dtype=np.int64)
    warmup = own["warmup_steps"].to_numpy()
    unknown = np.full(len(own), np.nan)
    points = LawPoints(
        curvature=own["value"].to_numpy(dtype=float),
        gap=unknown,
        gradient_norm=own["gradient_norm"].to_numpy(dtype=float),
        lr=own["lr"].to_numpy(dtype=float),
        step=own["step"].to_numpy(dtype=np.int64),
        trial=trial,
        cluster=seeds if question.seeds_matter(group.workload_entry) else trial,
        peak_lr=own["rate"].to_numpy(dtype=float),
        before_peak=(own["step"].to_numpy() < warmup - 1) | (warmup < 0),
    )
    return points, own["loss"].to_numpy(dtype=float)


def _with_gap(points: LawPoints, gap: np.ndarray) -> LawPoints:
    return LawPoints(**{**vars(points), "gap": gap})


def _optimum(
    points: LawPoints, losses: np.ndarray, question: Question, group: Group, *, is_main: bool
) -> tuple[str, float, Range, float]:
    """Kind and value of the optimum in use, and what a joint fit gives where the value is no known one."""
    stated: Mapping[str, object] = question.law_optimum
    known = question.optimum(group.workload_entry)
    kind = str(stated.get("kind") or ("zero" if known is None else "given"))
    value = known if known is not None and not stated else float(str(stated.get("value", 0.0)))
    if kind == "given" or not (is_main or kind == "fitted"):
        return kind, value, _NO_RANGE, math.nan
    joint, rho = _joint(points, losses)
    if kind == "fitted":
        # where nothing holds it, there is no gap, and the law says so by having no points
        return kind, joint.value, joint, rho
    return kind, value, joint, rho


def _joint(points: LawPoints, losses: np.ndarray) -> tuple[Range, float]:
    usable = np.flatnonzero((points.curvature > 0) & np.isfinite(losses))
    chosen = usable[:: max(1, -(-len(usable) // _OPTIMUM_POINTS))]
    if len(chosen) < 20 or np.ptp(losses[chosen]) <= 0:
        return _NO_RANGE, math.nan
    y, loss = points.curvature[chosen], losses[chosen]
    clusters, index = np.unique(points.cluster[chosen], return_inverse=True)
    # c lies below every loss that is used, the thinned ones too
    lowest = float(losses[usable].min())
    loss = np.append(loss, lowest)
    y = np.append(y, points.curvature[usable][losses[usable].argmin()])
    best = fit_optimum(loss, y)
    if best.at_rim[0] or best.rho[0] <= 0:
        return _NO_RANGE, math.nan
    counts = np.random.default_rng(0).multinomial(
        len(clusters), np.full(len(clusters), 1 / len(clusters)), size=_OPTIMUM_DRAWS
    )
    weights = np.append(np.unique(counts, axis=0)[:, index], np.zeros((len(np.unique(counts, axis=0)), 1)), axis=1)
    drawn = fit_optimum(loss, y, weights.astype(float)).optimum if len(clusters) > 2 else np.array([math.nan])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Range(float(best.optimum[0]), float(low), float(high)), float(best.rho[0])

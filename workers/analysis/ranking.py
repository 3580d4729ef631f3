"""What each schedule comes to once tuned, for one workload and optimizer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from workers.analysis.cells import CellTable
from workers.analysis.comparison import Candidate, Comparison, best_configuration, compare
from workers.analysis.intervals import mean_interval
from workers.analysis.question import Question
from workers.analysis.survival import StepsToTarget, steps_by_cell
from workers.analysis.usable import LargestUsable, largest_usable

NEVER_BEGAN = {
    "no_positive_sharpness": "the sharpness at the start, in whose units the peak LR is stated, is not above 0 there",
    "optimum_above_start": "the optimum that the warmup was given lies above the loss at the start",
}
"""Reasons of workers.science.outcome, in words."""


@dataclass(frozen=True)
class Contender:
    """A schedule at its best configuration. `mean`, `sd`, `n` over seeds; `trained` of `num_trials` at that point.

    best_cell: index into the cell table, -1 where no trial is done. edge: "lowest" or "highest" where the best rate is
    an end of the grid, else "". fastest_*: the configuration with the smallest median of steps to the target.
    """

    schedule: str
    is_baseline: bool
    best_cell: int
    best_rate: float
    settings: str
    mean: float
    sd: float
    n: int
    trained: int
    num_trials: int
    num_configurations: int
    num_rates: int
    edge: str
    usable: LargestUsable
    steps: StepsToTarget
    fastest_rate: float
    fastest_median: float
    outcomes: dict[str, int]
    comparison: Comparison | None = None


@dataclass(frozen=True)
class Group:
    """One workload and optimizer (with their swept values that are not tuned): its contenders in spec order."""

    label: str
    workload: str
    workload_entry: str
    optimizer: str
    optimizer_entry: str
    metric: str
    higher_is_better: bool
    analytic: bool
    seeds: int
    complete_seeds: int
    contenders: tuple[Contender, ...]
    num_without_value: int
    rate_unit: str
    """What its peak LRs are multiples of; empty where they are rates."""
    knew: Mapping[str, str]
    """Contender with a closed loop -> what that was told, or read beyond the loss."""
    tried: Mapping[str, float]
    """Contender -> losses of tried updates of a trial, where there were any; the median over its trials."""
    never_began: Mapping[str, int] = field(default_factory=dict)
    """Why trials ended before their first update -> how many."""
    is_mup: bool = False
    """Whether its model is in mup parametrization, whose factors on the rate precondition the Hessian."""

    @property
    def baseline(self) -> Contender | None:
        """The schedule that the others are compared with."""
        return next((contender for contender in self.contenders if contender.is_baseline), None)

    @property
    def ranked(self) -> list[Contender]:
        """Best mean first; those without a finished trial last."""
        sign = -1.0 if self.higher_is_better else 1.0
        return sorted(self.contenders, key=lambda each: math.inf if math.isnan(each.mean) else sign * each.mean)


def make_groups(table: CellTable, question: Question) -> tuple[Group, ...]:
    """The groups of a study. `table.cells` carries the column `usable`."""
    nothing_asked = [StepsToTarget(0, 0, math.nan)] * len(table.cells)
    steps = nothing_asked if question.target is None else steps_by_cell(table.trials)
    return tuple(_make_group(cells, table, steps, question) for _, cells in table.cells.groupby("group", sort=False))


def _make_group(cells: pd.DataFrame, table: CellTable, steps: list[StepsToTarget], question: Question) -> Group:
    first = cells.iloc[0]
    entry = first["workload_entry"]
    higher = question.higher_is_better(entry)
    trials = table.trials[(table.trials["group"] == first["group"]).to_numpy()]
    complete_C = _complete_seeds(trials, table.clusters)
    contenders, candidates = [], []
    for _, own in cells.groupby("contender", sort=False):
        candidate = _candidate(own, table, complete_C, higher)
        candidates.append(candidate)
        contenders.append(_contender(own, candidate, steps, question))
    return Group(
        label=first["group"],
        workload=first["workload"],
        workload_entry=entry,
        optimizer=first["optimizer"],
        optimizer_entry=first["optimizer_entry"],
        metric=question.metric_of(entry),
        higher_is_better=higher,
        analytic=question.is_analytic(entry),
        seeds=int(trials["cluster"].nunique()),
        complete_seeds=int(complete_C.sum()),
        contenders=_with_comparisons(contenders, candidates, higher, question),
        num_without_value=int(trials["without_value"].sum()),
        rate_unit=question.rate_unit(first["optimizer_entry"]),
        knew=_knew(trials),
        tried=_tried(trials),
        never_began=_never_began(trials),
        is_mup=_is_mup(trials, question.workloads.get(entry, {}).get("model") or {}),
    )


def _never_began(trials: pd.DataFrame) -> dict[str, int]:
    reasons = trials.loc[trials["done"].to_numpy(), "reason"].astype(str)
    return {reason: int(times) for reason in NEVER_BEGAN if (times := (reasons == reason).sum())}


def _is_mup(trials: pd.DataFrame, model: Mapping[str, object]) -> bool:
    swept = "workload.model.parametrization"
    stated = trials[swept].iloc[0] if swept in trials else model.get("parametrization")
    return stated == "mup"


def _knew(trials: pd.DataFrame) -> dict[str, str]:
    told = trials[(trials["schedule_knew"].fillna("") != "").to_numpy()]
    return {str(name): str(rows.iloc[0]) for name, rows in told.groupby("contender", sort=False)["schedule_knew"]}


def _tried(trials: pd.DataFrame) -> dict[str, float]:
    tried = trials[(trials["done"] & (trials["forward_passes"] > 0)).to_numpy()]
    passes = tried.groupby("contender", sort=False)["forward_passes"].median()
    return {str(name): float(value) for name, value in passes.items()}


def _complete_seeds(trials: pd.DataFrame, clusters: tuple[str, ...]) -> np.ndarray:
    """[C] whether all of the group's trials of a seed have come to an end (an errored one has)."""
    waiting = ~trials["state"].isin(["done", "errored"])
    there, missing = set(trials["cluster"]), set(trials.loc[waiting, "cluster"])
    return np.array([cluster in there and cluster not in missing for cluster in clusters])


def _candidate(own: pd.DataFrame, table: CellTable, complete_C: np.ndarray, higher_is_better: bool) -> Candidate:
    """Of an unfinished study the complete seeds alone: else what is best would hang on what ran first."""
    scores_KC = table.scores_KC[own.index.to_numpy()]
    enough = complete_C.sum() >= 2
    if enough:
        scores_KC = np.where(complete_C, scores_KC, np.nan)
    best = best_configuration(scores_KC, higher_is_better=higher_is_better)
    trained = 0 if best is None else int(own["trained"].iloc[best])
    return Candidate(scores_KC, best, trained, unfinished=not enough and bool((own["waiting"] > 0).any()))


def _contender(own: pd.DataFrame, candidate: Candidate, steps: list[StepsToTarget], question: Question) -> Contender:
    best = None if candidate.best is None else own.iloc[candidate.best]
    scores = np.empty(0) if candidate.best is None else candidate.scores_KC[candidate.best]
    over_seeds = mean_interval(scores[~np.isnan(scores)], question.confidence)
    rates = np.unique(own["rate"].to_numpy())
    fastest = min(own.index, key=lambda cell: _never_last(steps[cell].median))
    found = math.isfinite(steps[fastest].median)
    columns = ("trained", "stalled", "diverged", "errored", "waiting", "num_trials")
    return Contender(
        schedule=own["contender"].iloc[0],
        is_baseline=bool(own["is_baseline"].iloc[0]),
        best_cell=-1 if best is None else int(best.name),
        best_rate=math.nan if best is None else float(best["rate"]),
        settings="" if best is None else best["settings"],
        mean=over_seeds.mean,
        sd=over_seeds.sd,
        n=over_seeds.n,
        trained=0 if best is None else int(best["trained"]),
        num_trials=int(own["num_trials"].max()) if best is None else int(best["num_trials"]),
        num_configurations=len(own),
        num_rates=len(rates),
        edge="" if best is None else _edge(float(best["rate"]), rates),
        usable=largest_usable(own),
        steps=StepsToTarget(0, 0, math.nan) if best is None else steps[int(best.name)],
        fastest_rate=float(own.loc[fastest, "rate"]) if found else math.nan,
        fastest_median=steps[fastest].median if found else math.nan,
        outcomes={name: int(own[name].sum()) for name in columns},
    )


def _never_last(median: float) -> float:
    return math.inf if math.isnan(median) else median


def _edge(rate: float, rates: np.ndarray) -> str:
    if len(rates) == 1:
        return ""
    return "lowest" if rate == rates[0] else "highest" if rate == rates[-1] else ""


def _with_comparisons(
    contenders: list[Contender], candidates: list[Candidate], higher_is_better: bool, question: Question
) -> tuple[Contender, ...]:
    baseline = next((index for index, each in enumerate(contenders) if each.is_baseline), None)
    if baseline is None:
        return tuple(contenders)
    others = [index for index in range(len(contenders)) if index != baseline]
    comparisons = compare(
        [candidates[index] for index in others],
        candidates[baseline],
        higher_is_better=higher_is_better,
        confidence=question.confidence,
        margin=question.equivalence_margin,
    )
    compared = dict(zip(others, comparisons, strict=True))
    return tuple(replace(each, comparison=compared.get(index)) for index, each in enumerate(contenders))

"""The largest peak learning rate at which a schedule still trains usefully in every seed."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workers.analysis.cells import CellTable
from workers.analysis.question import Question

HALF_OF_THE_WAY = 0.5
_TINIEST_GAP = 1e-300  # a gap of exactly 0 still has a logarithm


@dataclass(frozen=True)
class LargestUsable:
    """`rate` NaN: none of the rates is usable. The edge lies between `rate` and `first_unusable_above`.

    at_edge: `rate` is the largest that was tried, so the true one may be larger. unfinished: a larger rate has trials
    that are not done. has_hole: some smaller rate is not usable. grid: all rates that were tried, rising: the true edge
    is known to one step of it. covered_above: of `num_trials` at `first_unusable_above`, those that were good there.
    cell: where `rate` is usable, -1 where nowhere.
    """

    rate: float
    first_unusable_above: float
    at_edge: bool
    unfinished: bool
    has_hole: bool
    grid: tuple[float, ...]
    covered_above: int
    num_trials: int
    cell: int


def mark_usable(table: CellTable, question: Question) -> pd.DataFrame:
    """For each cell `usable`: "yes", "no", or "open" (nothing against it yet, but trials are missing).

    And `covered`: how many of its trials are good for it. contracts.md, Outcome.
    """
    covered = _share_of_the_way(table, question) >= HALF_OF_THE_WAY
    good = table.trials["done"] & (table.trials["outcome"] == "trained") & covered
    num_cells = len(table.cells)
    num_good = np.bincount(table.trials.loc[good, "cell"], minlength=num_cells)
    done, trials = table.cells["done"].to_numpy(), table.cells["num_trials"].to_numpy()
    states = np.where(num_good < done, "no", np.where(num_good < trials, "open", "yes"))
    return pd.DataFrame({"usable": states, "covered": num_good}, index=table.cells.index)


def largest_usable(cells: pd.DataFrame) -> LargestUsable:
    """The largest usable rate of one contender's `cells`, which carry the columns `usable` and `covered`.

    A rate is usable when any of its tuned configurations is.
    """
    state: dict[float, set[str]] = {}
    for rate, usable in zip(cells["rate"].tolist(), cells["usable"].tolist(), strict=True):
        state.setdefault(rate, set()).add(usable)
    rates = sorted(state)
    usable_rates = [rate for rate in rates if "yes" in state[rate]]
    largest = usable_rates[-1] if usable_rates else math.nan
    above = [rate for rate in rates if not usable_rates or rate > largest]
    refused = [rate for rate in above if state[rate] == {"no"}]
    at_largest = cells[((cells["rate"] == largest) & (cells["usable"] == "yes")).to_numpy()]
    beyond = cells[(cells["rate"] == refused[0]).to_numpy()] if refused else cells.iloc[:0]
    return LargestUsable(
        rate=float(largest),
        first_unusable_above=float(refused[0]) if refused else math.nan,
        at_edge=bool(usable_rates) and largest == rates[-1],
        unfinished=any("open" in state[rate] for rate in above),
        has_hole=any(state[rate] == {"no"} for rate in rates if rate < largest),
        grid=tuple(rates),
        covered_above=int(beyond["covered"].max()) if refused else 0,
        num_trials=int((beyond if refused else cells)["num_trials"].max()),
        cell=-1 if at_largest.empty else int(at_largest.index[0]),
    )


def _share_of_the_way(table: CellTable, question: Question) -> np.ndarray:
    """Per trial, the share of the way from its reference to the best cell of its workload and optimizer."""
    share = np.full(len(table.trials), np.nan)
    for _, rows in table.trials.groupby("group", sort=False):
        workload = rows["workload_entry"].iloc[0]
        in_logs = question.is_analytic(workload) and question.optimum(workload) is not None
        optimum = question.optimum(workload) if in_logs else None
        share[rows.index] = _share(rows, table.cells, question.higher_is_better(workload), optimum)
    return share


def _share(rows: pd.DataFrame, cells: pd.DataFrame, higher_is_better: bool, optimum: float | None) -> np.ndarray:
    means = cells.loc[rows["cell"].unique(), "mean"].dropna()
    score, reference = rows["score"].to_numpy(), rows["reference"].to_numpy()
    if means.empty:
        return np.zeros(len(rows))
    best_cell = means.idxmax() if higher_is_better else means.idxmin()
    best = np.full(len(rows), means[best_cell])
    if optimum is not None:
        score, reference = _log_gap(score, optimum), _log_gap(reference, optimum)
        best[:] = np.nanmean(score[(rows["cell"] == best_cell).to_numpy() & rows["done"].to_numpy()])
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (reference - score) / (reference - best)
        # nothing beats the reference: nobody is on the way anywhere. No reference: having trained is all there is.
        share = np.where(((reference - best) > 0) != higher_is_better, share, 0.0)
        return np.where(np.isnan(reference), 1.0, share)


def _log_gap(loss: np.ndarray, optimum: float) -> np.ndarray:
    return np.log(np.maximum(loss - optimum, _TINIEST_GAP))

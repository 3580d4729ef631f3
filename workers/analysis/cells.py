"""What became of each cell: the trials that differ in their seed alone."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workers.analysis.scores import natural_key


@dataclass(frozen=True)
class CellTable:
    """K cells in a fixed order, with their scores over C clusters (initialization seeds).

    cells: one row per cell, index 0..K-1: the labels of `score_trials`; num_trials, done, trained, stalled, diverged,
    errored, waiting (queued, running or cancelled); mean, sd, low, high of the score over n clusters.
    scores_KC: the mean score of a cell's done trials in a cluster, NaN where none is done.
    trials: the scored trials with the column `cell`.
    """

    cells: pd.DataFrame
    scores_KC: np.ndarray
    clusters: tuple[str, ...]
    trials: pd.DataFrame


_IDENTITY = [
    "workload",
    "optimizer",
    "schedule",
    "workload_entry",
    "optimizer_entry",
    "group",
    "contender",
    "is_baseline",
    "rate",
    "settings",
]


def make_cells(scored: pd.DataFrame) -> CellTable:
    """The cells of trials as `workers.analysis.scores.score_trials` gives them."""
    trials = scored.copy()
    # names, not `cell_id`: two schedules that come to the same trial are still two contenders
    trials["cell"] = trials.groupby(_IDENTITY, sort=False, dropna=False).ngroup()
    clusters = tuple(sorted(trials["cluster"].unique(), key=natural_key))
    cells = trials.drop_duplicates("cell")[_IDENTITY].reset_index(drop=True)
    scores_KC = _cluster_means(trials, len(cells), clusters)
    _add_counts(cells, trials)
    _add_moments(cells, scores_KC)
    return CellTable(cells, scores_KC, clusters, trials)


def _cluster_means(trials: pd.DataFrame, num_cells: int, clusters: tuple[str, ...]) -> np.ndarray:
    """Rows that share an initialization are not independent: they are averaged before anything is tested."""
    place = {cluster: index for index, cluster in enumerate(clusters)}
    done = trials[trials["done"]]
    cell_and_cluster = (done["cell"].to_numpy(), done["cluster"].map(place).to_numpy(dtype=int))
    sums, counts = np.zeros((num_cells, len(clusters))), np.zeros((num_cells, len(clusters)))
    np.add.at(sums, cell_and_cluster, done["score"].to_numpy())
    np.add.at(counts, cell_and_cluster, 1)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _add_counts(cells: pd.DataFrame, trials: pd.DataFrame) -> None:
    def count(mask: pd.Series) -> np.ndarray:
        return np.bincount(trials.loc[mask, "cell"], minlength=len(cells))

    done = trials["done"]
    cells["num_trials"] = count(pd.Series(True, index=trials.index))
    cells["done"] = count(done)
    for outcome in ("trained", "stalled", "diverged"):
        cells[outcome] = count(done & (trials["outcome"] == outcome))
    cells["errored"] = count(trials["state"] == "errored")
    cells["waiting"] = cells["num_trials"] - cells["done"] - cells["errored"]


def _add_moments(cells: pd.DataFrame, scores_KC: np.ndarray) -> None:
    there = ~np.isnan(scores_KC)
    n = there.sum(axis=1)
    some, several = n > 0, n > 1
    filled = np.where(there, scores_KC, 0.0)
    with np.errstate(invalid="ignore"):  # infinity minus infinity: a spread that is not known
        mean = np.divide(filled.sum(axis=1), n, out=np.full(len(n), np.nan), where=some)
        squares = np.where(there, (filled - np.where(some, mean, 0.0)[:, None]) ** 2, 0.0).sum(axis=1)
        sd = np.sqrt(np.divide(squares, n - 1, out=np.full(len(n), np.nan), where=several))
    cells["n"], cells["mean"], cells["sd"] = n, mean, sd
    cells["low"] = np.where(some, np.where(there, scores_KC, np.inf).min(axis=1, initial=np.inf), np.nan)
    cells["high"] = np.where(some, np.where(there, scores_KC, -np.inf).max(axis=1, initial=-np.inf), np.nan)

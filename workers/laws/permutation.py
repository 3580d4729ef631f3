"""Whether curvature follows the gap beyond what both share with the step: whole trials are permuted, never points."""

import math
from dataclasses import dataclass

import numpy as np

from workers.laws.points import LawPoints
from workers.laws.power_law import Array


@dataclass(frozen=True)
class PermutationTest:
    """p: the share of permutations (the one that was measured among them) with as large an association; NaN where
    fewer than 20 permutations exist, so that 0.05 cannot be reached. num_permutations: those that were drawn."""

    p: float
    num_permutations: int


def permutation_test(points: LawPoints, *, draws: int = 199, seed: int = 0) -> PermutationTest:
    """One-sided: are trials with a larger gap at a step those with a larger curvature at that step?

    log gap and log curvature lose their mean over the trials of a block at each step; the statistic is the sum of their
    products. Under "curvature hangs on the step alone", and under "curvature and gap walk independently", a trial's
    curvature may as well stand beside another trial's gap: so the curvatures of whole trials are permuted within
    blocks. A block is the trials of one initialization seed, or, where each cluster has one trial, all of them.
    Permuting points instead calls two independent random walks related in three of four draws.
    """
    trials, trial_N = np.unique(points.trial, return_inverse=True)
    steps, step_N = np.unique(points.step, return_inverse=True)
    cluster_T = np.zeros(len(trials), dtype=np.int64)
    cluster_T[trial_N] = points.cluster
    blocks, block_T = np.unique(cluster_T, return_inverse=True)
    if len(blocks) == len(trials):
        block_T = np.zeros(len(trials), dtype=np.int64)
    members = [np.flatnonzero(block_T == block) for block in range(int(block_T.max()) + 1)]
    if sum(math.lgamma(len(each) + 1) for each in members) < math.log(20):
        return PermutationTest(math.nan, 0)
    gap_TS, curvature_TS = (np.full((len(trials), len(steps)), np.nan) for _ in range(2))
    gap_TS[trial_N, step_N], curvature_TS[trial_N, step_N] = np.log(points.gap), np.log(points.curvature)
    gap_TS, curvature_TS = _without_step(gap_TS, members), _without_step(curvature_TS, members)
    products_TT = gap_TS @ curvature_TS.T
    random = np.random.default_rng(seed)
    rows = np.arange(len(trials))
    seen = products_TT[rows, rows].sum()
    drawn = np.empty(draws)
    for index in range(draws):
        order = rows.copy()
        for each in members:
            order[each] = each[random.permutation(len(each))]
        drawn[index] = products_TT[rows, order].sum()
    margin = 1e-9 * (abs(seen) + np.abs(products_TT).max(initial=0.0))
    return PermutationTest(float((1 + (drawn >= seen - margin).sum()) / (draws + 1)), draws)


def _without_step(values_TS: Array, members: list[np.ndarray]) -> Array:
    """Minus the mean over the block at each step; 0 where nothing was measured, or in one trial of the block alone."""
    found = np.zeros_like(values_TS)
    for each in members:
        block = values_TS[each]
        there = np.isfinite(block)
        count = there.sum(axis=0)
        mean = np.where(there, block, 0.0).sum(axis=0) / np.maximum(count, 1)
        found[each] = np.where(there & (count > 1), block - mean, 0.0)
    return found

"""Whether a schedule, tuned, does better than the baseline, tuned as much."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from workers.analysis.intervals import MeanInterval, holm, mean_interval, seeds_needed


class Verdict(StrEnum):
    """What a comparison comes to."""

    WINS = "wins"
    LOSES = "loses"
    TIES = "ties"
    CANNOT_TELL = "cannot be told"


@dataclass(frozen=True)
class Comparison:
    """A contender's best cell minus the baseline's, over the seeds that both have; in the metric's unit.

    `low`, `high`: t interval of this comparison alone. `p_holm`: adjusted for all comparisons with the baseline in the
    same workload and optimizer. `held_out`: each seed scored at the rate that the other seeds chose.
    """

    verdict: Verdict
    difference: float
    low: float
    high: float
    sd: float
    n: int
    p: float
    p_holm: float
    seeds_needed: float
    held_out: MeanInterval
    nothing_trained: bool = False
    unfinished: bool = False


@dataclass(frozen=True)
class Candidate:
    """What a schedule may choose from: scores_KC[k, c] of its K tuned configurations over C clusters.

    unfinished: some of them are still to come, so that what is best so far may not stay it.
    """

    scores_KC: np.ndarray
    best: int | None
    best_trained: int
    """Trials of the best configuration that trained."""
    unfinished: bool = False


def best_configuration(scores_KC: np.ndarray, *, higher_is_better: bool) -> int | None:
    """Index of the best mean; the first of equals, None where nothing is done.

    A configuration with less than half of the seeds that another has is not chosen: one lucky seed is no mean.
    """
    n = (~np.isnan(scores_KC)).sum(axis=1)
    if not n.size or n.max() == 0:
        return None
    mean = np.where(np.isnan(scores_KC), 0.0, scores_KC).sum(axis=1) / np.maximum(n, 1)
    eligible = np.flatnonzero(2 * n >= n.max())
    return int(eligible[np.argmin(-mean[eligible] if higher_is_better else mean[eligible])])


def compare(
    contenders: Sequence[Candidate],
    baseline: Candidate,
    *,
    higher_is_better: bool,
    confidence: float,
    margin: float | None,
) -> list[Comparison | None]:
    """Each contender against the baseline, in order; None where one of the two has no finished trial."""
    intervals = [_paired(contender, baseline, confidence) for contender in contenders]
    made = [index for index, interval in enumerate(intervals) if interval is not None]
    adjusted = holm([interval.p for interval in intervals if interval is not None])
    comparisons: list[Comparison | None] = [None] * len(contenders)
    for p_holm, index in zip(adjusted, made, strict=True):
        interval = intervals[index]
        assert interval is not None
        comparison = Comparison(
            verdict=Verdict.CANNOT_TELL,
            difference=interval.mean,
            low=interval.low,
            high=interval.high,
            sd=interval.sd,
            n=interval.n,
            p=interval.p,
            p_holm=p_holm,
            seeds_needed=seeds_needed(interval.mean, interval.sd, confidence, margin, len(made)),
            held_out=_held_out(contenders[index], baseline, confidence, higher_is_better),
            nothing_trained=contenders[index].best_trained == 0 and baseline.best_trained == 0,
            unfinished=contenders[index].unfinished or baseline.unfinished,
        )
        comparisons[index] = replace(comparison, verdict=decide(comparison, higher_is_better, confidence, margin))
    return comparisons


def decide(comparison: Comparison, higher_is_better: bool, confidence: float, margin: float | None) -> Verdict:
    """The verdict of a comparison.

    Ties: the whole interval lies within the margin that the study counts as the same, whether or not it holds 0 (two
    one-sided tests, at half of 1 - confidence each). Wins, loses: Holm's p is at most 1 - confidence.
    """
    if comparison.unfinished or comparison.nothing_trained or comparison.n < 2 or math.isnan(comparison.low):
        return Verdict.CANNOT_TELL
    if margin is not None and -margin <= comparison.low and comparison.high <= margin:
        return Verdict.TIES
    if comparison.p_holm <= 1 - confidence:
        return Verdict.WINS if (comparison.difference > 0) == higher_is_better else Verdict.LOSES
    return Verdict.CANNOT_TELL


def _paired(contender: Candidate, baseline: Candidate, confidence: float) -> MeanInterval | None:
    if contender.best is None or baseline.best is None:
        return None
    ours, theirs = contender.scores_KC[contender.best], baseline.scores_KC[baseline.best]
    both = ~np.isnan(ours) & ~np.isnan(theirs)
    if not both.any():
        return None
    with np.errstate(invalid="ignore"):  # infinity minus infinity is not a number, and is said to be none
        return mean_interval(ours[both] - theirs[both], confidence)


def _held_out(contender: Candidate, baseline: Candidate, confidence: float, higher_is_better: bool) -> MeanInterval:
    """Leave one seed out: choosing and scoring on the same seeds flatters whoever has more to choose from.

    The folds share data, so the interval is too narrow (0 outside it in 14 % of draws of noise at 5 seeds, 7 rates):
    a sensitivity value, not a second test.
    """
    ours = _scores_by_other_seeds(contender.scores_KC, higher_is_better)
    theirs = _scores_by_other_seeds(baseline.scores_KC, higher_is_better)
    both = ~np.isnan(ours) & ~np.isnan(theirs)
    with np.errstate(invalid="ignore"):
        return mean_interval((ours - theirs)[both], confidence)


def _scores_by_other_seeds(scores_KC: np.ndarray, higher_is_better: bool) -> np.ndarray:
    """[C] score on seed c of the configuration that is best on all other seeds; NaN where there is none."""
    n = (~np.isnan(scores_KC)).sum(axis=1)
    eligible = scores_KC[2 * n >= max(1, n.max(initial=0))]
    there_KC = ~np.isnan(eligible)
    filled = np.where(there_KC, eligible, 0.0)
    others = there_KC.sum(axis=1, keepdims=True) - there_KC
    with np.errstate(invalid="ignore"):
        mean = np.divide(
            filled.sum(axis=1, keepdims=True) - filled, others, out=np.full_like(filled, np.nan), where=others > 0
        )
    usable = there_KC & ~np.isnan(mean)
    cost = np.where(usable, -mean if higher_is_better else mean, np.inf)
    if not cost.size:
        return np.full(scores_KC.shape[1], np.nan)
    chosen = np.take_along_axis(eligible, cost.argmin(axis=0)[None, :], axis=0)[0]
    return np.where(usable.any(axis=0), chosen, np.nan)

"""Whether curvature follows K0 + Krho gap^rho in a study: supported, not supported, or not identifiable, and why."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]

from workers.laws.envelope import fit_envelope
from workers.laws.least_squares import PowerFits, fit_power
from workers.laws.permutation import permutation_test
from workers.laws.points import Integers, LawPoints
from workers.laws.power_law import Array, PowerLaw
from workers.laws.regressors import ENVELOPE_QUANTILE, NAMED, REGRESSORS, HeldOut, Regressor, held_out, values_of

MIN_POINTS, MIN_CLUSTERS, MIN_RANGE = 20, 3, 2.0
MAX_P, MIN_HELD_OUT_R2, MAX_HELD_OUT_VIOLATED, MAX_BEND = 0.05, 0.5, 0.2, 1.25
EXACT = 1e-3
"""Errors of log curvature below this are none: no probe is as exact."""
MAX_POINTS = 800
BOOTSTRAPS = 200
_BINS = 8


class LawAnswer(StrEnum):
    """What the law comes to in a study."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not supported"
    NOT_IDENTIFIABLE = "not identifiable"


@dataclass(frozen=True)
class Range:
    """A fitted number and its 95 % interval over resampled clusters; NaN limits where there are too few."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RegressorFit:
    """How well one regressor tells curvature: R^2 of the fit to all points, and of peak LRs (of seeds, where there is
    one peak LR) that were held out; the share held out that lies above the 95 % envelope of the rest; and `against` the
    gap: `worse`, `as good`, `better`, or `not measured`."""

    regressor: Regressor
    r2: float
    held_out_r2: float
    held_out_violated: float
    against: str


@dataclass(frozen=True)
class LawFit:
    """The law fitted to N points of curvature, and what it comes to.

    law: least squares in log space; rho, k0, k_rho with intervals over resampled clusters (whole trials). slope: of log
    law over log gap at the median gap. envelope: quantile regression at 0.95. cover: the factor by which `law` would
    have to be raised to lie above all points. permutation_p: of whole trials. bend: the largest factor by which the
    middle of a part of the gaps lies off the law for certain. num_below_optimum: points left out because their loss is
    below the optimum. unit: what is resampled and left out, `seed` or `trial`.
    """

    num_points: int
    num_trials: int
    num_clusters: int
    num_peak_lrs: int
    gap_low: float
    gap_high: float
    law: PowerLaw
    rho: Range
    k0: Range
    k_rho: Range
    slope: Range
    envelope: PowerLaw
    r2: float
    violated_by_law: float
    violated_by_envelope: float
    cover: float
    permutation_p: float
    held_out_r2_by_seed: float
    held_out_r2_by_peak_lr: float
    held_out_violated_by_seed: float
    bend: float
    regressors: tuple[RegressorFit, ...]
    answer: LawAnswer
    reasons: tuple[str, ...]
    num_below_optimum: int = 0
    unit: str = "seed"


def judge(
    points: LawPoints, *, bootstraps: int = BOOTSTRAPS, seed: int = 0, unit: str = "seed", one_path: bool = False
) -> LawFit:
    """Fit the law and say what it comes to. `docs/laws.md` states each criterion.

    Supported needs all of: curvature rises with the gap (bootstrap over clusters), beyond what both share with the step
    (permutation of whole trials); it tells at least half of the variance of peak LRs and of seeds that were held out;
    step alone and 2/lr tell less, and so does the gradient norm; its envelope holds on seeds that were held out; no
    part of the gaps bends away from it.

    Args:
        unit: what a cluster is called: `seed`, or `trial` where seeds change nothing.
        one_path: all trials start at one point of several dimensions and draw nothing, so that they follow about one
            path, on which the gap cannot be told from the place.
    """
    below = int(((points.curvature > 0) & (points.gap < 0)).sum())
    used = points.usable().thinned(MAX_POINTS)
    missing = _missing(used, below)
    if missing:
        return replace(_nothing(used, missing), num_below_optimum=below, unit=unit)
    found = replace(_judge(used, bootstraps, seed), num_below_optimum=below, unit=unit)
    answer, reasons = _answer(found, one_path=one_path)
    return replace(found, answer=answer, reasons=tuple(reasons))


def _missing(points: LawPoints, below: int) -> list[str]:
    """Why nothing can be fitted at all."""
    if len(points) < MIN_POINTS:
        said = [f"{_counted(len(points), 'point')} with a positive curvature and gap, and a fit takes {MIN_POINTS}"]
        return said + ([_no_optimum(below)] if below else [])
    low, high = np.quantile(points.gap, [0.05, 0.95])
    if high < MIN_RANGE * low:
        return [f"the gap covers a factor of {high / low:.2f} alone, and a power shows over {MIN_RANGE:g} at least"]
    return []


def _judge(points: LawPoints, bootstraps: int, seed: int) -> LawFit:
    clusters, cluster_N = np.unique(points.cluster, return_inverse=True)
    rates, rate_N = np.unique(points.peak_lr, return_inverse=True)
    fit = fit_power(points.gap, points.curvature)
    law = fit.law()
    middle = np.exp(np.median(np.log(points.gap)))[None]
    resampled = resampled_fits(points, bootstraps, seed)
    slopes = None if resampled is None else _slopes(resampled, middle)
    envelope = fit_envelope(points.gap, points.curvature, ENVELOPE_QUANTILE)
    by_seed = held_out("gap", points, cluster_N)
    by_rate = held_out("gap", points, rate_N)
    folds = (rate_N, by_rate) if len(rates) > 1 else (cluster_N, by_seed)
    test = permutation_test(points, seed=seed)
    return LawFit(
        num_points=len(points),
        num_trials=len(np.unique(points.trial)),
        num_clusters=len(clusters),
        num_peak_lrs=len(rates),
        gap_low=float(points.gap.min()),
        gap_high=float(points.gap.max()),
        law=law,
        rho=_range(law.rho, None if resampled is None else resampled.rho),
        k0=_range(law.k0, None if resampled is None else resampled.k0),
        k_rho=_range(law.k_rho, None if resampled is None else resampled.k_rho),
        slope=_range(float(law.slope(middle)[0]), slopes),
        envelope=envelope,
        r2=1.0 - float(fit.sse[0] / fit.sst[0]) if fit.sst[0] > 0 else math.nan,
        violated_by_law=law.share_violated(points.gap, points.curvature),
        violated_by_envelope=envelope.share_violated(points.gap, points.curvature),
        cover=float((points.curvature / law.at(points.gap)).max()),
        permutation_p=test.p,
        held_out_r2_by_seed=by_seed.r2,
        held_out_r2_by_peak_lr=by_rate.r2,
        held_out_violated_by_seed=by_seed.violated,
        bend=_bend(points, law, cluster_N, len(clusters)),
        regressors=_regressors(points, cluster_N, *folds),
        answer=LawAnswer.NOT_IDENTIFIABLE,
        reasons=(),
    )


def resampled_fits(points: LawPoints, draws: int = BOOTSTRAPS, seed: int = 0) -> PowerFits | None:
    """Fits to clusters drawn with replacement, whole, one for each draw: points of one path are not independent.

    None where there are fewer than 3 clusters.
    """
    clusters, cluster_N = np.unique(points.cluster, return_inverse=True)
    num = len(clusters)
    if num < MIN_CLUSTERS:
        return None
    random = np.random.default_rng(seed)
    counts_BC = random.multinomial(num, np.full(num, 1 / num), size=draws)
    distinct_UC, which_B = np.unique(counts_BC, axis=0, return_inverse=True)
    fits = fit_power(points.gap, points.curvature, distinct_UC[:, cluster_N].astype(np.float64), iterations=12)
    rows = which_B.ravel()
    return PowerFits(fits.rho[rows], fits.k0[rows], fits.k_rho[rows], fits.sse[rows], fits.sst[rows])


def _slopes(fits: PowerFits, middle: Array) -> Array:
    power = fits.k_rho * middle**fits.rho
    return np.asarray(fits.rho * power / (fits.k0 + power))


def _range(value: float, drawn: Array | None) -> Range:
    if drawn is None:
        return Range(value, math.nan, math.nan)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Range(value, float(low), float(high))


def _regressors(points: LawPoints, cluster_N: Integers, fold_N: Integers, of_gap: HeldOut) -> tuple[RegressorFit, ...]:
    fits = [RegressorFit("gap", of_gap.r2_within, of_gap.r2, of_gap.violated, "")]
    for regressor in REGRESSORS[1:]:
        z = values_of(regressor, points)
        if regressor != "step" and not (np.isfinite(z) & (z > 0)).all():
            fits.append(RegressorFit(regressor, math.nan, math.nan, math.nan, "not measured"))
            continue
        told = held_out(regressor, points, fold_N)
        against = _against(of_gap.errors_N, told.errors_N, cluster_N)
        fits.append(RegressorFit(regressor, told.r2_within, told.r2, told.violated, against))
    return tuple(fits)


def _against(of_gap_N: Array, of_other_N: Array, cluster_N: Integers) -> str:
    """By the t interval, over clusters, of the log ratio of mean squared errors."""
    known = np.isfinite(of_gap_N) & np.isfinite(of_other_N)
    count = np.bincount(cluster_N[known])
    if (count > 0).sum() < 2:
        return "as good"
    mine, theirs = (
        np.bincount(cluster_N[known], errors[known] ** 2)[count > 0] / count[count > 0] + EXACT**2
        for errors in (of_gap_N, of_other_N)
    )
    ratios = np.log(theirs / mine)
    half = float(stdtrit(len(ratios) - 1, 0.975)) * float(ratios.std(ddof=1)) / math.sqrt(len(ratios))
    mean = float(ratios.mean())
    return "worse" if mean - half > 1e-9 else "better" if mean + half < -1e-9 else "as good"


def _bend(points: LawPoints, law: PowerLaw, cluster_N: Integers, num_clusters: int) -> float:
    """The factor by which the mean of the worst eighth of the gaps lies off the law, less two standard errors over
    clusters; 1 where none does."""
    rest = np.log(points.curvature / law.at(points.gap))
    order = np.argsort(points.gap, kind="stable")
    worst = 0.0
    for part in np.array_split(order, _BINS):
        count = np.bincount(cluster_N[part], minlength=num_clusters)
        means = np.bincount(cluster_N[part], rest[part], minlength=num_clusters)[count > 0] / count[count > 0]
        if len(means) > 1:
            error = float(means.std(ddof=1)) / math.sqrt(len(means))
            worst = max(worst, abs(float(rest[part].mean())) - 2 * error)
    return math.exp(worst)


def _answer(fit: LawFit, *, one_path: bool) -> tuple[LawAnswer, list[str]]:
    against, open_ = _against_it(fit), _left_open(fit)
    if one_path:
        open_.append("all trials follow about one path from one start, on which the gap cannot be told from the place")
    if against:
        return LawAnswer.NOT_SUPPORTED, against
    if open_:
        return LawAnswer.NOT_IDENTIFIABLE, open_
    told = [_share(value) for value in (fit.held_out_r2_by_peak_lr, fit.held_out_r2_by_seed)]
    less = [NAMED[each.regressor] for each in fit.regressors if each.against == "worse"]
    unknown = [NAMED[each.regressor] for each in fit.regressors if each.against == "not measured"]
    return LawAnswer.SUPPORTED, [
        "curvature rises with the gap beyond what both share with the step (permutation of whole trials, p ="
        f" {fit.permutation_p:.2g}); the fit explains {told[0]} of the variance of a peak LR that was left"
        f" out, {told[1]} of that of a {fit.unit}; {_listed(less)} explain{'s' if len(less) == 1 else ''} less"
        + (f" ({_listed(unknown)} was not measured)" if unknown else "")
    ]


def _against_it(fit: LawFit) -> list[str]:
    said = []
    if fit.law.k_rho == 0.0:
        said.append("curvature does not rise with the gap: the best law is a constant")
    elif fit.slope.low <= 0.02:
        said.append(
            f"it is not shown that curvature rises with the gap: over resampled {fit.unit}s the slope at the median gap"
            f" goes down to {fit.slope.low:.2g}"
        )
    if fit.permutation_p > MAX_P and fit.num_peak_lrs > 1:
        said.append(
            "at one and the same step trials with a larger gap do not have a larger curvature (permutation of whole"
            f" trials, p = {fit.permutation_p:.2g}): gap and curvature share no more than the step"
        )
    for name, value in (("peak LR", fit.held_out_r2_by_peak_lr), (fit.unit, fit.held_out_r2_by_seed)):
        if value < MIN_HELD_OUT_R2:
            explained = f"{_share(value)} of the variance" if value > 0 else "no more than a constant does"
            said.append(f"the fit does not carry over: of a {name} that was left out it explains {explained}")
    if fit.held_out_violated_by_seed > MAX_HELD_OUT_VIOLATED:
        said.append(
            f"as a bound it does not hold on {fit.unit}s that were left out: {_share(fit.held_out_violated_by_seed)} of"
            " their points lie above the envelope of 95 %"
        )
    if fit.bend > MAX_BEND:
        said.append(
            f"it is not a power law of the gap: in a part of the gaps curvature is {fit.bend:.2g} x off the fit"
        )
    said += [
        f"{NAMED[each.regressor]} tells curvature better than the gap does"
        for each in fit.regressors
        if each.against == "better" and each.regressor != "gradient_norm"
    ]
    return said


def _left_open(fit: LawFit) -> list[str]:
    said = [_no_optimum(fit.num_below_optimum)] if fit.num_below_optimum else []
    if fit.num_clusters < MIN_CLUSTERS:
        said.append(f"{_counted(fit.num_clusters, fit.unit)}, and a law is told from {MIN_CLUSTERS} on")
    if fit.num_peak_lrs < 2:
        said.append("one peak LR: loss and time fall together, so that a gap is never seen at two steps")
    if math.isnan(fit.permutation_p):
        said.append("too few trials to permute them")
    for each in fit.regressors:
        if each.against == "as good":
            said.append(f"{NAMED[each.regressor]} tells curvature as well as the gap does")
        elif each.against == "better" and each.regressor == "gradient_norm":
            # arXiv 2509.07972, Lemma 1: a law in the gradient norm (below 2) is one in the gap, too
            said.append("the gradient norm tells curvature better, and a law in it implies a bound in the gap")
    return said


def _no_optimum(below: int) -> str:
    return f"{_counted(below, 'point')} of a loss below what is taken as the optimum, which therefore is none"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _nothing(points: LawPoints, reasons: list[str]) -> LawFit:
    nan, none = math.nan, PowerLaw(0.0, math.nan, 0.0)
    unknown = Range(nan, nan, nan)
    return LawFit(
        num_points=len(points),
        num_trials=len(np.unique(points.trial)),
        num_clusters=len(np.unique(points.cluster)),
        num_peak_lrs=len(np.unique(points.peak_lr)),
        gap_low=float(points.gap.min(initial=math.inf)),
        gap_high=float(points.gap.max(initial=-math.inf)),
        law=none,
        rho=unknown,
        k0=unknown,
        k_rho=unknown,
        slope=unknown,
        envelope=none,
        r2=nan,
        violated_by_law=nan,
        violated_by_envelope=nan,
        cover=nan,
        permutation_p=nan,
        held_out_r2_by_seed=nan,
        held_out_r2_by_peak_lr=nan,
        held_out_violated_by_seed=nan,
        bend=nan,
        regressors=(),
        answer=LawAnswer.NOT_IDENTIFIABLE,
        reasons=tuple(reasons),
    )

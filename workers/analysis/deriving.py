"""What a finished pilot's law says of warmup: shape, length, peak, and predictions with intervals."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from schemas.warmups import ExponentialConvexWarmup, GeometricWarmup, LinearWarmup, PolynomialWarmup
from workers.analysis.cells import CellTable, make_cells
from workers.analysis.laws import GroupLaws, Law, measure_laws
from workers.analysis.question import Question, read_question
from workers.analysis.ranking import Group, make_groups
from workers.analysis.reading import ResultFolder
from workers.analysis.scores import score_trials
from workers.analysis.thresholds import product_threshold
from workers.analysis.usable import mark_usable
from workers.laws.judging import LawFit, resampled_fits
from workers.laws.points import LawPoints
from workers.laws.warmup_of_law import LawPath, Speed, fit_speed, law_path
from workers.schedules.factors import warmup_factors

MODEL_ERROR = 2.0
"""The interval of the length is this much wider on each side than the bootstrap's: the speed is a rough power law."""
MAX_PATH_STEPS = 200_000


@dataclass(frozen=True)
class Pilot:
    """A finished pilot, read: its groups, and the laws of those in which curvature was measured."""

    question: Question
    table: CellTable
    groups: tuple[Group, ...]
    laws: dict[str, GroupLaws]
    folder: ResultFolder


@dataclass(frozen=True)
class Foretold:
    """One prediction; high is infinite where there is no upper end."""

    quantity: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class DerivedWarmup:
    """warmup: fields of a warmup of `schemas.warmups`. start_gap, rates: of the law's own path, one rate an update."""

    warmup: dict[str, Any]
    peak_lr: float
    scale: float
    scale_from: str
    needed: bool
    start_gap: float
    rates: tuple[float, ...]
    foretold: tuple[Foretold, ...]


def read_pilot(folder: Path, spec: dict[str, Any]) -> Pilot:
    """Read what `workers.results.write` wrote of a study."""
    tables, question = ResultFolder(folder), read_question(spec)
    table = make_cells(score_trials(tables.trials(), question))
    table.cells[["usable", "covered"]] = mark_usable(table, question)
    groups = make_groups(table, question)
    return Pilot(question, table, groups, measure_laws(tables, question, groups, table), tables)


def derive_warmup(pilot: Pilot, group: Group, total_steps: int) -> DerivedWarmup:
    """Shape, length and peak of the warmup that the law of a group asks for in a run of `total_steps`.

    Raises:
        ValueError: nothing falls in the pilot, or it has no point at its start.
    """
    measured = pilot.laws[group.label]
    main, points = measured.laws[0], measured.points.usable()
    start = float(np.median(points.gap[points.step == points.step.min()]))
    scale, scale_from = _scale(pilot, group, main, start)
    speed = _speed(pilot, group, main, points)
    steps = min(total_steps, MAX_PATH_STEPS)
    lowest = float(points.gap.min())

    def path(rho: Any, k0: Any, k_rho: Any) -> LawPath:
        return law_path(
            np.atleast_1d(rho),
            np.atleast_1d(k0),
            np.atleast_1d(k_rho),
            speed,
            start=start,
            lowest=lowest,
            scale=scale,
            steps=steps,
        )

    law = main.fit.law
    best = path(law.rho, law.k0, law.k_rho)
    length, peak = int(best.warmup_steps[0]), float(f"{best.peak[0]:.4g}")
    drawn = resampled_fits(points.thinned(800))
    many = best if drawn is None else path(drawn.rho, drawn.k0, drawn.k_rho)
    factors = np.minimum(best.rates[0] / best.peak[0], 1.0)
    # at once it would be twice the safe rate, or more: at or beyond the threshold
    needed = bool(length > 1 and factors[0] < 0.5)
    return DerivedWarmup(
        warmup=_shape(factors[:length]),
        peak_lr=peak,
        scale=scale,
        scale_from=scale_from,
        needed=needed,
        start_gap=start,
        rates=tuple(best.rates[0, : length + 1]),
        foretold=_foretold(main.fit, best, many, scale, length, needed=needed),
    )


def applied_rate(pilot: Pilot, cell: int) -> float:
    """The peak LR of a cell as a rate, also where a multiple of 1/sharpness was stated: the median over its trials."""
    trials = pilot.table.trials
    return float(trials.loc[(trials["cell"] == cell).to_numpy(), "peak_lr"].median())


def _scale(pilot: Pilot, group: Group, main: Law, start: float) -> tuple[float, str]:
    """Half of the threshold, where theory has one: 1 for plain gradient descent, whose loss then falls at every step.

    Of a preconditioned curvature it is that of the optimizer (`product_threshold`), of the plain one sgd's alone.
    Where the curvature that was measured has none, what the pilot sustained at its start without warmup; else at its
    best peak LR.
    """
    question, is_preconditioned = pilot.question, main.response == "preconditioned_sharpness"
    threshold = product_threshold(question.optimizers.get(group.optimizer_entry, {}))
    if math.isfinite(threshold) and (
        is_preconditioned or question.no_threshold(group.optimizer_entry, mup=group.is_mup) is None
    ):
        return threshold / 2.0, "stability"
    at_start = float(main.fit.law.at([start])[0])
    baseline = group.baseline
    if baseline is not None and baseline.usable.rate > 0:
        return applied_rate(pilot, baseline.usable.cell) * at_start, "pilot"
    return applied_rate(pilot, group.ranked[0].best_cell) * at_start, "pilot"


def _speed(pilot: Pilot, group: Group, main: Law, points: LawPoints) -> Speed:
    """From the fall of the training loss over the summed rate, between probe points of every trial of the group."""
    trials = pilot.table.trials
    chosen = trials[((trials["group"] == group.label) & (trials["outcome"] == "trained")).to_numpy()]
    if not pilot.question.seeds_matter(group.workload_entry):
        chosen = chosen.drop_duplicates("cell")
    steps = pilot.folder.rows("steps", ("trial_id", "step", "lr", "train_loss"), chosen["trial_id"].tolist())
    every = np.unique(points.step)
    gaps, falls = [], []
    for _, rows in steps.groupby("trial_id", sort=True):
        summed = np.concatenate([[0.0], np.nancumsum(rows["lr"].to_numpy())])[:-1]
        kept = np.isin(rows["step"].to_numpy(), every)
        gap, sigma = rows["train_loss"].to_numpy()[kept] - main.optimum, summed[kept]
        with np.errstate(invalid="ignore", divide="ignore"):
            falls.append(-np.diff(gap) / np.diff(sigma))
            gaps.append(np.sqrt(gap[1:] * gap[:-1]))
    if not gaps:
        raise ValueError("a trial that trained")
    return fit_speed(np.concatenate(gaps), np.concatenate(falls))


def _shape(factors_W: np.ndarray) -> dict[str, Any]:
    """The warmup of this length whose factors are closest in logs: stability is a matter of ratios."""
    length = len(factors_W)
    if length <= 1:
        return {"kind": "none"}
    first = float(np.clip(factors_W[0], 1e-6, 0.999))
    linear_start = max(0.0, (first - 1 / length) / (1 - 1 / length))
    candidates: list[Any] = [
        LinearWarmup(kind="linear", steps=length, start_factor=_rounded(linear_start)),
        GeometricWarmup(kind="geometric", steps=length, start_factor=_rounded(first ** (length / (length - 1)))),
        *(PolynomialWarmup(kind="polynomial", steps=length, alpha=alpha) for alpha in (0.5, 1.5, 2.0, 3.0, 4.0)),
        *(ExponentialConvexWarmup(kind="exponential_convex", steps=length, alpha=a) for a in (1.5, 3.0, 6.0, 10.0)),
    ]

    def distance(warmup: Any) -> float:
        made = np.maximum(warmup_factors(warmup, length), 1e-12)
        return float(((np.log(made) - np.log(factors_W)) ** 2).sum())

    said = min(candidates, key=distance).model_dump()
    return {key: value for key, value in said.items() if value is not None}


def _rounded(value: float) -> float:
    return min(0.999, max(float(f"{value:.4g}"), 1e-6 if value > 0 else 0.0))


def _foretold(
    fit: LawFit, best: LawPath, many: LawPath, scale: float, length: int, *, needed: bool
) -> tuple[Foretold, ...]:
    """Where no warmup is needed, the shortest that is no worse than the best is none, whatever the rate would do."""
    row = np.arange(len(many.warmup_steps))
    at = min(length, best.rates.shape[1] - 1)
    spread = math.exp(2.0 * math.sqrt(_mean_square(fit)))
    at_once, curvature = float(best.rates[0, 0]), float(scale / best.rates[0, at])
    stable = Foretold("rate_stable_at_once", at_once, min(_low(many.rates[:, 0]), at_once), math.inf)
    return (
        _widened("warmup_steps", float(length) if needed else 0.0, many.warmup_steps, MODEL_ERROR),
        stable,
        _widened("curvature_after_warmup", curvature, scale / many.rates[row, at], max(spread, 1.1)),
    )


def _mean_square(fit: LawFit) -> float:
    """Of the residuals of log curvature, taken as normal: the envelope of 95 % lies 1.645 of them above the trend."""
    low, high = fit.gap_low, fit.gap_high
    middle = math.sqrt(low * high)
    above = math.log(float(fit.envelope.at([middle])[0] / fit.law.at([middle])[0]))
    return (max(above, 0.0) / 1.645) ** 2


def _low(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.025))


def _widened(quantity: str, value: float, drawn: np.ndarray, factor: float) -> Foretold:
    low, high = (float(each) for each in np.quantile(drawn, [0.025, 0.975]))
    low, high = min(low, value) / factor, max(high, value) * factor
    if quantity == "warmup_steps":
        low, high = math.floor(low), math.ceil(high)
    return Foretold(quantity, value, low, high)

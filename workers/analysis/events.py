"""What happened along a trial: loss spikes, catapults, crossings of the stability threshold, its edge; the regime.

A pure function of the trial's rows in `steps` and `probes`. Letters: lambda is the sharpness reading that the
optimizer's threshold is about (the preconditioned one where it preconditions; workers.analysis.thresholds), eta the
rate of the update made from there, tau the threshold of lambda x eta on a quadratic, late: (2 + 2 momentum) for sgd,
(2 + 2 beta1)/(1 - beta1) for adam. Only converged readings above 0 count.

loss_spike              train_loss above the median of the WINDOW rows before it by more than SPIKE_DEVIATIONS robust
                        standard deviations (1.4826 MAD) of them and by more than the share SPIKE_RISE of that median;
                        with fewer than MIN_ROWS rows before it, by more than the share EARLY_RISE. Lasts until the loss
                        is within SPIKE_RISE of that median again.
threshold_crossed       lambda eta goes above tau (direction up; also where the first reading is), or, once above, below
                        (1 - CROSSING_MARGIN) tau (down).
catapult                (arXiv 2003.02218, 2406.09405) readings above tau, and in that time a loss that rises above its
                        median before by more than CATAPULT_RISE of it and CATAPULT_DEVIATIONS robust deviations, then a
                        lambda that has dropped by more than CATAPULT_DROP once lambda eta is at most tau again.
progressive_sharpening  (arXiv 2103.00065) at least MIN_READINGS readings on end, none above tau, along which lambda
                        grows by the factor GROWTH or more, with a rank correlation with time of at least CORRELATION.
edge_of_stability       (arXiv 2103.00065, 2207.14484) at least MIN_READINGS readings on end with lambda eta / tau in
                        EDGE, at least one of them at 1 or above.
regime                  (arXiv 2406.09405) by the change of log lambda (least squares) up to the first reading above
                        tau; without one, until the end of the warmup, or of the run where the warmup has fewer than
                        MIN_OF_REGIME readings. From a start above tau: what is left of lambda once it is back.
                        C1 it grows by more than REGIME_CHANGE, C2 it falls by more, C3 neither.

Smaller batches lower the late thresholds of momentum and adam: the edge is then passed below tau, and not seen here.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

WINDOW, MIN_ROWS = 20, 5
SPIKE_DEVIATIONS, SPIKE_RISE, EARLY_RISE = 6.0, 0.2, 1.0
CROSSING_MARGIN = 0.05
CATAPULT_DEVIATIONS, CATAPULT_RISE, CATAPULT_DROP = 3.0, 0.1, 0.1
MIN_READINGS, GROWTH, CORRELATION = 5, 1.5, 0.7
EDGE = (0.8, 1.25)
MIN_OF_REGIME, REGIME_CHANGE = 3, 0.1

KINDS = ("loss_spike", "threshold_crossed", "catapult", "progressive_sharpening", "edge_of_stability", "regime")
_TO_DEVIATION = 1.4826
"""Of a normal distribution's MAD."""

Reals = NDArray[np.float64]
Steps = NDArray[np.int64]
_NO_STEPS, _NO_REALS = np.zeros(0, dtype=np.int64), np.zeros(0)


@dataclass(frozen=True)
class TrialSeries:
    """One trial's rows, in order of step: losses [T], and readings [R] of the sharpness that `threshold` is about.

    threshold: tau; NaN where the optimizer has none, or what it is about was not measured.
    """

    step: Steps
    loss: Reals
    threshold: float = math.nan
    warmup_steps: int = 0
    reading_step: Steps = field(default_factory=lambda: _NO_STEPS)
    sharpness: Reals = field(default_factory=lambda: _NO_REALS)
    lr: Reals = field(default_factory=lambda: _NO_REALS)


@dataclass(frozen=True)
class Happened:
    """A row of the table `events`, but for its trial."""

    step: int
    kind: str
    values: dict[str, float | str]


def find_events(series: TrialSeries) -> list[Happened]:
    """Everything that happened, in order of step."""
    known = np.isfinite(series.sharpness) & (series.sharpness > 0)
    readings = _Readings(
        series.reading_step[known], series.sharpness[known], (series.sharpness * series.lr)[known] / series.threshold
    )
    found = [*_spikes(series.step, series.loss)]
    if len(readings.step):
        found += [*_crossings(readings, series.threshold), *_catapults(readings, series), *_sharpening(readings)]
        found += [*_edges(readings), *_regime(readings, series.warmup_steps)]
    return sorted(found, key=lambda each: (each.step, KINDS.index(each.kind)))


@dataclass(frozen=True)
class _Readings:
    """step, lambda and lambda eta / tau (NaN: no tau), each [R]."""

    step: Steps
    sharpness: Reals
    ratio: Reals

    @property
    def above(self) -> NDArray[np.bool_]:
        """Whether tau is passed."""
        return np.asarray(self.ratio > 1.0)


def _spikes(step: Steps, loss: Reals) -> Iterator[Happened]:
    median, allowed = _before(loss)
    with np.errstate(invalid="ignore"):
        candidates = np.flatnonzero(np.isfinite(loss) & (loss - median > allowed))
    end = -1
    for k in candidates.tolist():
        if k < end:
            continue
        level = median[k] + SPIKE_RISE * abs(median[k])
        later = np.flatnonzero(~((loss[k:] > level) & np.isfinite(loss[k:])))
        end = k + int(later[0]) if len(later) else len(loss)
        peak = k + int(np.argmax(loss[k:end]))
        recovered = end < len(loss) and bool(np.isfinite(loss[end]))
        values: dict[str, float | str] = {
            "loss_before": float(median[k]),
            "loss_peak": float(loss[peak]),
            "peak_step": int(step[peak]),
            "recovered_step": int(step[end]) if recovered else -1,
        }
        yield Happened(int(step[k]), "loss_spike", values)


def _before(loss: Reals) -> tuple[Reals, Reals]:
    """Of the rows before each: the median, and how far above it a loss may be."""
    num = len(loss)
    median, allowed = np.full(num, np.nan), np.full(num, np.inf)
    for k in range(1, min(num, WINDOW)):
        median[k], allowed[k] = _level(loss[:k])
    if num > WINDOW:
        windows = np.lib.stride_tricks.sliding_window_view(loss[:-1], WINDOW)
        median[WINDOW:] = np.median(windows, axis=1)
        deviation = _TO_DEVIATION * np.median(np.abs(windows - median[WINDOW:, None]), axis=1)
        allowed[WINDOW:] = np.maximum(SPIKE_DEVIATIONS * deviation, SPIKE_RISE * np.abs(median[WINDOW:]))
    return median, allowed


def _level(rows: Reals) -> tuple[float, float]:
    median = float(np.median(rows))
    if len(rows) < MIN_ROWS:
        return median, EARLY_RISE * abs(median)
    deviation = _TO_DEVIATION * float(np.median(np.abs(rows - median)))
    return median, max(SPIKE_DEVIATIONS * deviation, SPIKE_RISE * abs(median))


def _crossings(readings: _Readings, threshold: float) -> Iterator[Happened]:
    is_above = False
    for step, ratio in zip(readings.step.tolist(), readings.ratio.tolist(), strict=True):
        goes_up = not is_above and ratio > 1.0
        goes_down = is_above and ratio < 1.0 - CROSSING_MARGIN
        if goes_up or goes_down:
            is_above = goes_up
            values: dict[str, float | str] = {"product": ratio * threshold, "threshold": threshold}
            yield Happened(step, "threshold_crossed", {"direction": "up" if goes_up else "down", **values})


def _catapults(readings: _Readings, series: TrialSeries) -> Iterator[Happened]:
    for first, end in _runs(readings.above):
        if end == len(readings.step):
            continue  # not back yet
        before, back = readings.step[max(first - 1, 0)], readings.step[end]
        until = int(np.searchsorted(series.step, before, side="right"))
        rows = series.loss[max(0, until - WINDOW) : until]
        during = series.loss[until : int(np.searchsorted(series.step, back, side="right"))]
        if not len(rows) or not np.isfinite(during).any():
            continue
        median = float(np.median(rows))
        deviation = _TO_DEVIATION * float(np.median(np.abs(rows - median))) if len(rows) >= MIN_ROWS else 0.0
        peak, highest = float(np.nanmax(during)), float(readings.sharpness[first:end].max())
        has_risen = peak - median > max(CATAPULT_DEVIATIONS * deviation, CATAPULT_RISE * abs(median))
        if has_risen and readings.sharpness[end] < (1 - CATAPULT_DROP) * highest:
            values: dict[str, float | str] = {
                "until_step": int(back),
                "loss_before": median,
                "loss_peak": peak,
                "sharpness_before": highest,
                "sharpness_after": float(readings.sharpness[end]),
                "product": float(readings.ratio[first:end].max() * series.threshold),
                "threshold": series.threshold,
            }
            yield Happened(int(readings.step[first]), "catapult", values)


def _sharpening(readings: _Readings) -> Iterator[Happened]:
    for first, end in _runs(~readings.above):
        part = readings.sharpness[first:end]
        growth = part / np.minimum.accumulate(part)
        last = int(np.argmax(growth))
        start = int(np.argmin(part[: last + 1]))
        along = part[start : last + 1]
        if len(along) < MIN_READINGS or growth[last] < GROWTH or _rank_correlation(along) < CORRELATION:
            continue
        values: dict[str, float | str] = {
            "until_step": int(readings.step[first + last]),
            "sharpness_before": float(along[0]),
            "sharpness_after": float(along[-1]),
            "factor": float(growth[last]),
        }
        yield Happened(int(readings.step[first + start]), "progressive_sharpening", values)


def _edges(readings: _Readings) -> Iterator[Happened]:
    low, high = EDGE
    for first, end in _runs((readings.ratio >= low) & (readings.ratio <= high)):
        ratio = readings.ratio[first:end]
        if len(ratio) < MIN_READINGS or ratio.max() < 1.0:
            continue
        values: dict[str, float | str] = {
            "until_step": int(readings.step[end - 1]),
            "readings": len(ratio),
            "mean_product_over_threshold": float(ratio.mean()),
        }
        yield Happened(int(readings.step[first]), "edge_of_stability", values)


def _regime(readings: _Readings, warmup_steps: int) -> Iterator[Happened]:
    count = _readings_of_regime(readings, warmup_steps)
    if count < MIN_OF_REGIME:
        return
    step, sharpness = readings.step[:count].astype(float), readings.sharpness[:count]
    if readings.above[0]:
        change = float(sharpness[-1] / sharpness[0])  # it falls in a few steps at the end
    else:
        change = math.exp(float(np.polyfit(step, np.log(sharpness), 1)[0]) * float(np.ptp(step)))
    label = "C1" if change > 1 + REGIME_CHANGE else "C2" if change < 1 / (1 + REGIME_CHANGE) else "C3"
    values: dict[str, float | str] = {"label": label, "factor": change, "readings": count}
    yield Happened(int(step[-1]), "regime", values)


def _readings_of_regime(readings: _Readings, warmup_steps: int) -> int:
    """How many of the first readings the label is taken from."""
    above = np.flatnonzero(readings.above)
    if len(above) and above[0] >= MIN_OF_REGIME - 1:
        return int(above[0]) + 1
    if len(above) and above[0] == 0:
        below = np.flatnonzero(~readings.above)
        return int(below[0]) + 1 if len(below) else len(readings.step)
    if len(above):
        return 0  # it crosses before its course is known
    in_warmup = int((readings.step <= warmup_steps).sum())
    return in_warmup if in_warmup >= MIN_OF_REGIME else len(readings.step)


def _runs(flags: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """[first, end) of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _rank_correlation(values: Reals) -> float:
    """Spearman's, with time; equal values are taken in order of time."""
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1])

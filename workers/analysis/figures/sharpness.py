"""Where training runs relative to the edge of stability: sharpness times the rate in use."""

import math

import numpy as np

from workers.analysis.figures.bands import band_over_seeds
from workers.analysis.figures.event_marks import event_marks
from workers.analysis.figures.model import Axis, Figure, Panel, Rule, Series
from workers.analysis.figures.source import FigureSource
from workers.analysis.plain import number
from workers.analysis.ranking import Group
from workers.analysis.thresholds import PLAIN, PRECONDITIONED, sharpness_probe

NAME = "sharpness"
_DECADES = 4


def draw(source: FigureSource) -> Figure:
    """Median and range over seeds of sharpness x lr over steps, one panel per group."""
    return Figure(
        NAME,
        "Sharpness x learning rate over time",
        "Sharpness is the largest algebraic eigenvalue of the Hessian on the probe batch; it is multiplied by the "
        "rate of the update made from there. Each schedule at its best peak LR; line: median over seeds, band: lowest "
        "to highest. For sgd, steps above the line (2 + 2 momentum, less with nesterov) are unstable on a quadratic. "
        "Look for: curves "
        "that start above the line (the rate was too large at once), and curves that rise to it and stay. A cross "
        "marks a catapult: loss up, then sharpness down, while above the line. Where the sharpness preconditioned by "
        "the optimizer was measured, that is drawn, with the line that is about it.",
        tuple(panel for group in source.groups if (panel := _panel(group, source)).series),
    )


def _panel(group: Group, source: FigureSource) -> Panel:
    optimizer = source.question.optimizers.get(group.optimizer_entry, {})
    probe, of_preconditioned = sharpness_probe(source.question, group.workload_entry, optimizer)
    is_preconditioned = source.question.probe_kind(probe) == PRECONDITIONED
    probes = source.probes_of_kind(PRECONDITIONED if is_preconditioned else PLAIN)
    probes = probes.assign(product=probes["value"].to_numpy() * probes["lr"].to_numpy())
    drawn = [band_over_seeds(source, each, probes, "product", marked=True) for each in source.baseline_last(group)]
    series = tuple(each for each in drawn if each is not None)
    products = source.question.stability_products(group.optimizer_entry)
    threshold = None if products is None or group.is_mup else products[1]
    if is_preconditioned:
        threshold = of_preconditioned if math.isfinite(of_preconditioned) else None
    catapults = event_marks(source, group, "catapult", lambda step, said: (step, said["product"]))
    log = all(value is None or value > 0 for each in series for value in (*each.y, *each.low))
    rules = () if threshold is None else (Rule(threshold, f"unstable above {number(threshold)}"),)
    return Panel(
        group.label,
        Axis("step (updates made)"),
        Axis(
            f"{'preconditioned ' if is_preconditioned else ''}sharpness x lr",
            log=log,
            limits=_log_limits(series, threshold) if log else _limits(series, threshold),
        ),
        (*series, *catapults) if series else (),
        rules,
        note=" ".join(filter(None, (_note(group, source, threshold), source.note(group)))),
    )


def _limits(series: tuple[Series, ...], threshold: float | None) -> tuple[float, float] | None:
    """All medians and the line, but one spike must not flatten everything else: at most 5 times the 95th percentile."""
    medians = [value for each in series for value in each.y if value is not None]
    if not medians:
        return None
    top = min(1.1 * max(medians), 5 * max(float(np.percentile(medians, 95)), threshold or 0.0))
    return (min(0.0, 1.1 * min(medians)), max(top, 1.4 * (threshold or 0.0), 1e-12))


def _log_limits(series: tuple[Series, ...], threshold: float | None) -> tuple[float, float] | None:
    """All of the bands and the line; of a warmup's tiny first rates, four powers of ten are enough."""
    drawn = [value for each in series for value in (*each.low, *each.high) if value is not None]
    if not drawn:
        return None
    top = max(*drawn, threshold or 0.0)
    return (max(min(drawn) / 1.5, top / 10**_DECADES), 2.0 * top)


def _note(group: Group, source: FigureSource, threshold: float | None) -> str:
    reason = source.question.no_threshold(group.optimizer_entry, mup=group.is_mup)
    if reason is not None and threshold is None:
        return f"No line here: {reason}. Compare the curves with one another only."
    return "" if threshold is not None else "No line here: the optimizer's momentum is not one number."

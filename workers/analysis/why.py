"""What the measured curvature says about why, in a sentence or two, and where it says nothing."""

import math

from workers.analysis.curvature import AfterWarmup, Curvature, Spread
from workers.analysis.phrases import some
from workers.analysis.plain import number, plural
from workers.analysis.question import Question
from workers.analysis.ranking import Contender, Group
from workers.analysis.thresholds import sharpness_probe

MIN_SEEDS = 2
"""Fewer seeds with a converged point say nothing about a schedule."""

Products = tuple[float, float]
"""Sharpness x rate beyond which a step is unstable: the first one, and later ones."""


def why(group: Group, question: Question, measured: Curvature) -> list[str]:
    """Entries of the verdict, the first opening with "Why (curvature)"; empty where no curvature was asked for.

    A threshold is that of a quadratic: 2/sharpness for a step without momentum, (2 + 2 momentum)/sharpness once the
    momentum has built up (arXiv 2103.00065, 2406.09405; question.py for nesterov). It is compared, never taken for a
    cause.
    """
    asked = {question.probe_kind(name) for name in question.probes}
    told = []
    if "sharpness" in asked:
        told += _sharpness(group, question, measured)
    if "secant_smoothness" in asked and measured.slopes.n:
        told.append(_secant(measured))
    return [f"Why (curvature): {told[0]}", *told[1:]] if told else []


def _sharpness(group: Group, question: Question, measured: Curvature) -> list[str]:
    reason = question.no_threshold(group.optimizer_entry, mup=group.is_mup)
    if reason is not None:
        _, tau = sharpness_probe(question, group.workload_entry, question.optimizers.get(group.optimizer_entry, {}))
        told = f"cannot be told for {group.optimizer}: {reason}."
        if math.isfinite(tau):  # of the preconditioned sharpness, which was measured, too
            told = (
                f"cannot be told for {group.optimizer} from the plain sharpness: {reason}; the figure of sharpness x"
                " learning rate sets that one's against it."
            )
        return [told, *_after_warmup(measured, judged=False)]
    start, products = measured.start, question.stability_products(group.optimizer_entry)
    if products is None:
        return ["cannot be told, as the optimizer's momentum is not one number."]
    if start.n < min(MIN_SEEDS, group.seeds):
        return [
            f"cannot be told: sharpness at the start converged in {start.n} of {plural(group.seeds, 'seed')}"
            f" ({measured.converged} of {plural(measured.points, 'point')} in all)."
        ]
    if start.low <= 0:
        return [f"cannot be told: sharpness at the start is not positive in every seed ({_range(start)})."]
    threshold = " ".join([_limits(start, products), *_baseline(group, start, products)])
    return [threshold, *_after_warmup(measured, judged=True)]


def _limits(start: Spread, products: Products) -> str:
    at_once, end = products
    first = f"above LR {number(at_once / start.median, 3)} ({number(at_once, 3)}/sharpness)"
    later = f", with momentum built up above {number(end / start.median, 3)}" if end > at_once else ""
    return f"sharpness at the start is {_range(start)}, so on a quadratic a step is unstable {first}{later}."


def _range(spread: Spread) -> str:
    over = f" (median of {spread.n} seeds, {number(spread.low, 3)} to {number(spread.high, 3)})"
    return number(spread.median, 3) + (over if spread.n > 1 else "")


def _baseline(group: Group, start: Spread, products: Products) -> list[str]:
    """Whether the rates of the schedule without warmup lie where the threshold says."""
    baseline = group.baseline
    if baseline is None or baseline.n == 0:
        return []
    # a multiple of 1/sharpness at the start is that product already
    scale = 1.0 if group.rate_unit else start.median
    best = baseline.best_rate * scale
    told = [f"{baseline.schedule}'s best peak LR is {_place(best, products)}"]
    told[0] += ", so by this measure stable from the first step, without warmup" if best < products[0] else ""
    edge = _edge(baseline, scale, products)
    return [f"{'; '.join([*told, *edge])}."]


def _edge(baseline: Contender, scale: float, products: Products) -> list[str]:
    usable, above = baseline.usable.rate * scale, baseline.usable.first_unusable_above * scale
    if math.isnan(usable) or math.isnan(above):
        return []
    pair = f"its largest usable one {_place(usable, products)}, the next, not usable, {_place(above, products)}"
    at_once, end = products
    if usable <= end and above >= at_once:
        return [f"{pair}: the threshold lies in between"]
    where = "above" if usable > end else "below"
    return [f"{pair}: it stops being usable {where} the threshold at the start, which does not decide here"]


def _place(product: float, products: Products) -> str:
    """`0.48/sharpness (below 2)`."""
    at_once, end = products
    if product < at_once:
        return f"{number(product, 3)}/sharpness (below {number(at_once, 3)})"
    side = "above" if product > end or end == at_once else "below"
    return f"{number(product, 3)}/sharpness ({side} {number(end, 3)})"


def _after_warmup(measured: Curvature, *, judged: bool) -> list[str]:
    rows = [row for row in measured.after_warmup if row.n >= MIN_SEEDS]
    if not rows:
        return []
    steps = sorted({row.step for row in rows})
    told = some([_one_after(row, is_first=row is rows[0]) for row in rows])
    when = f"step {', '.join(map(str, steps))}"
    beside = {number(row.baseline, 3) for row in rows if not math.isnan(row.baseline)}
    control = f"; without warmup {' and '.join(sorted(beside))}" if beside else ""
    sentence = (
        f"At the first point after warmup ({when}), each at its largest usable peak LR, sharpness is {told}{control}"
    )
    return [f"{sentence}{_meaning(rows, measured.start) if judged else ''}."]


def _one_after(row: AfterWarmup, *, is_first: bool) -> str:
    lower = "lower than at the start in " if is_first else ""
    return f"{number(row.median, 3)} with {row.schedule} ({lower}{row.lower} of {row.n}{' seeds' if is_first else ''})"


def _meaning(rows: list[AfterWarmup], start: Spread) -> str:
    if any(row.lower < row.n for row in rows):
        return ": it does not fall in every seed, so a curvature that falls during warmup is not the pattern here"
    beside = [row.baseline for row in rows if not math.isnan(row.baseline)]
    if not beside:
        return ": it falls in every seed"
    also = "does" if max(beside) < start.median else "does not"
    return f": it falls in every seed, as its median {also} without warmup"


def _secant(measured: Curvature) -> str:
    slopes = measured.slopes
    return (
        f"Secant smoothness goes as gap^{number(slopes.median, 2)} (median over trials at the best peak LRs,"
        f" {number(slopes.low, 2)} to {number(slopes.high, 2)}; rising in {measured.rising} of {slopes.n}); loss and"
        " time fall together in a run, so this is no proof that the one follows the other."
    )

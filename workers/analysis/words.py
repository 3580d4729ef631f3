"""The verdict in plain words: what a training engineer reads first."""

import math
from collections.abc import Sequence
from itertools import pairwise

from schemas.probes import thinning_text
from workers.analysis.caveats import caveats
from workers.analysis.comparison import Comparison, Verdict
from workers.analysis.costs import ProbeQuality
from workers.analysis.headline import headline
from workers.analysis.phrases import VERB, some, steps_text, usable_against, usable_text
from workers.analysis.plain import alike, listed, number, plural, signed
from workers.analysis.question import Question
from workers.analysis.ranking import NEVER_BEGAN, Contender, Group

GOOD_SHARE = 0.9
"""Of the points of a probe: where fewer converged, the verdict says so."""


def paragraph(group: Group, question: Question, reasons: Sequence[str] = ()) -> tuple[str, ...]:
    """The sentences of one group's verdict, most important first. `reasons`: those of `workers.analysis.why`."""
    finished = [each for each in group.contenders if each.n > 0]
    if not finished:
        return (f"No trial of {group.label} is done yet, so there is nothing to tell.", *_counts(group))
    tuned = [*_tuned_result(group, question)]
    steps = _steps(group, question)
    # a function with a known answer is asked how long, not how low
    usable = _usable(group)
    short = [sentence] if (sentence := headline(group)) else []
    leading = [*steps, *tuned, *usable] if group.analytic else [*short, *tuned, *usable, *steps]
    return (*leading, *reasons, *_edges(group), *_counts(group), *caveats(group, question))


def measured(probes: Sequence[ProbeQuality], question: Question) -> list[str]:
    """What must be known of the measurements before they are relied on: what was left out, what did not converge."""
    told = [f"{thinning_text(each.probe, each.thinned, question.probe_budget)}." for each in probes if each.thinned]
    noisy = [probe for probe in probes if probe.points and question.probe_kind(probe.probe) == "secant_noise"]
    told += [_noise_dominated(probe) for probe in noisy if probe.converged < 1]
    loose = [probe for probe in probes if probe.points and probe not in noisy and probe.converged < GOOD_SHARE]
    if loose:
        shares = some(
            [f"{each.probe} converged in {100 * each.converged:.0f} % of its {each.points:,} points" for each in loose]
        )
        told.append(
            f"{shares}; the others carry their residual (column `error`). A larger probe_budget or max_hvps, or fewer"
            " points, lets more converge."
        )
    return told


def _noise_dominated(probe: ProbeQuality) -> str:
    return (
        f"{probe.probe} is noise-dominated (noise / curvature above 1) at {100 * (1 - probe.converged):.0f} % of its"
        f" {plural(probe.points, 'point')}: what it reads there is gradient noise over step length, not smoothness."
    )


def _tuned_result(group: Group, question: Question) -> list[str]:
    metric = group.metric.replace("_", " ")
    if len(group.contenders) == 1:
        only = group.contenders[0]
        return [f"One schedule ({only.schedule}), so nothing to compare: {metric} {_at_best(only)}."]
    baseline = group.baseline
    if baseline is None or baseline.n == 0:
        why = (
            "No baseline is named"
            if question.baseline is None
            else f"The baseline {question.baseline} has no finished trial"
        )
        order = some([f"{each.schedule} {_at_best(each)}" for each in group.ranked if each.n > 0])
        return [f"{why}, so the schedules are ranked and not tested. {metric.capitalize()}, best first: {order}."]
    opening = f"Tuned result on {metric}: the baseline {baseline.schedule} reaches {_at_best(baseline)}."
    return [opening, *_verdicts(group, question)]


def _at_best(contender: Contender) -> str:
    spread = f" (sd {number(contender.sd, 2)} over {plural(contender.n, 'seed')})" if contender.n > 1 else ""
    of = f", best of {contender.num_configurations}" if contender.num_configurations > 1 else ""
    return f"{number(contender.mean)}{spread} at peak LR {_rate(contender)}{of}"


def _rate(contender: Contender) -> str:
    return number(contender.best_rate, 3) + (f", {contender.settings}" if contender.settings else "")


def _verdicts(group: Group, question: Question) -> list[str]:
    compared = [(each, each.comparison) for each in group.contenders if each.comparison is not None]
    if compared and all(comparison.n == 1 and not comparison.unfinished for _, comparison in compared):
        clauses = [
            f"{each.schedule} {number(each.mean)} at peak LR {_rate(each)} ({signed(comparison.difference)})"
            for each, comparison in compared
        ]
        why = "One seed: no interval" + ("" if group.analytic else ", so cannot be told from noise")
        return [f"{why}: {some(clauses)}."]
    sentences = []
    for verdict in Verdict:
        chosen = [(each, comparison) for each, comparison in compared if comparison.verdict is verdict]
        if not chosen:
            continue
        told = some([_clause(each, comparison, question) for each, comparison in chosen])
        if verdict is Verdict.CANNOT_TELL:
            yet = " yet, the study is not finished; so far" if any(each.unfinished for _, each in chosen) else ""
            sentences.append(f"Cannot be told{yet}: {told}.")
        else:
            sentences.append(f"{told}.")
    unfinished = [each.schedule for each in group.contenders if each.comparison is None and not each.is_baseline]
    if unfinished:
        sentences.append(f"Not compared, no seed is done in both yet: {some(unfinished)}.")
    return sentences


def _clause(contender: Contender, comparison: Comparison, question: Question) -> str:
    level = f"{number(100 * question.confidence, 3)} % interval"
    difference, low, high = alike(comparison.difference, comparison.low, comparison.high)
    interval = f"{level} {low} to {high}, " if comparison.n > 1 else ""
    measured = (
        f"{number(contender.mean)} at peak LR {_rate(contender)}, difference {difference} "
        f"({interval}n = {comparison.n})"
    )
    if comparison.nothing_trained:
        return f"{contender.schedule}: neither it nor the baseline trained at any peak LR"
    if comparison.verdict is Verdict.CANNOT_TELL:
        return f"{contender.schedule}, {measured}{_what_would_tell(comparison, question)}"
    return f"{contender.schedule} {VERB[comparison.verdict]}: {measured}{_qualification(comparison, question)}"


def _qualification(comparison: Comparison, question: Question) -> str:
    if comparison.verdict is not Verdict.TIES:
        return ""
    inside = f", all within the margin of {number(question.equivalence_margin or 0.0, 3)}"
    return (
        inside
        if comparison.low <= 0 <= comparison.high
        else f"{inside}, so it counts as the same although it is not chance"
    )


def _what_would_tell(comparison: Comparison, question: Question) -> str:
    reasons = []
    if comparison.unfinished:
        return ""
    if comparison.n == 1:
        return "; one seed: no interval"
    if comparison.sd == 0.0:
        return "; the same in every seed, so more seeds add nothing"
    if comparison.p <= 1 - question.confidence < comparison.p_holm:
        reasons.append(f"0 is outside, but not after Holm's correction (p = {number(comparison.p_holm, 2)})")
    if comparison.seeds_needed > 10_000:
        reasons.append("no number of seeds within reach would tell")
    else:
        reasons.append(f"about {plural(int(comparison.seeds_needed), 'seed')} would tell (estimate, power 80 %)")
    return "; " + "; ".join(reasons)


def _usable(group: Group) -> list[str]:
    if all(each.num_rates == 1 for each in group.contenders):
        return []
    baseline = group.baseline
    parts = []
    for each in group.contenders:
        part = f"{each.schedule} {usable_text(each.usable)}"
        if baseline is not None and each is not baseline:
            against = usable_against(each.usable, baseline.usable)
            part += f", {against}" if against else ""
        parts.append(part)
    return [
        f"Largest usable peak LR{_resolution(group)}, usable in all {plural(_seeds(group), 'seed')}: {some(parts)}."
    ]


def _resolution(group: Group) -> str:
    """How far apart the rates are: the edge is known no closer."""
    grids = {each.usable.grid for each in group.contenders}
    rates = grids.pop()
    ratios = [high / low for low, high in pairwise(rates)]
    even = not grids and ratios and max(ratios) < 1.01 * min(ratios)
    return f" of the grid (a step is {number(ratios[0], 3)} x)" if even else " of the rates tried"


def _seeds(group: Group) -> int:
    return max(each.usable.num_trials for each in group.contenders)


def _steps(group: Group, question: Question) -> list[str]:
    if question.target is None:
        return []
    parts = [
        f"{each.schedule} {steps_text(each)}{_times_as_long(each, group)}"
        for each in group.contenders
        if each.steps.n > 0
    ]
    relation = "at least" if group.higher_is_better else "at most"
    what = f"{group.metric.replace('_', ' ')} {relation} {number(question.target)}"
    where = "" if all(each.num_configurations == 1 for each in group.contenders) else ", each at its best peak LR"
    return [f"Steps to {what}{where}: {some(parts)}."] if parts else []


def _times_as_long(contender: Contender, group: Group) -> str:
    baseline = group.baseline
    if not group.analytic or baseline is None or contender is baseline:
        return ""
    ratio = contender.steps.median / baseline.steps.median if baseline.steps.median else math.nan
    return "" if math.isnan(ratio) else f" ({number(ratio, 3)} x the baseline's)"


def _edges(group: Group) -> list[str]:
    parts = [
        f"{each.schedule} ({each.edge} rate, {number(each.best_rate, 3)})" for each in group.contenders if each.edge
    ]
    if not parts:
        return []
    return [f"Warning: the best peak LR is at the grid's edge for {some(parts)}; a wider grid may change the result."]


def _counts(group: Group) -> list[str]:
    total = {name: sum(each.outcomes[name] for each in group.contenders) for name in group.contenders[0].outcomes}
    done = total["trained"] + total["stalled"] + total["diverged"]
    useless = [f"{total[name]} {name}" for name in ("diverged", "stalled") if total[name]]
    counted = f"; {listed(useless)}, all counted as no better than a constant answer" if useless else ""
    if group.analytic and useless:
        counted = f"; {listed(useless)}, all counted as no better than their start"
    sentences = []
    if total["waiting"] or total["errored"]:
        words = (("waiting", "not done"), ("errored", "errored"))
        missing = [f"{total[name]} {word}" for name, word in words if total[name]]
        is_partial = 2 <= group.complete_seeds < group.seeds
        over = f"; compared over the {group.complete_seeds} complete of {group.seeds} seeds" if is_partial else ""
        sentences.append(
            f"Not finished: {done} of {plural(total['num_trials'], 'trial')} done ({listed(missing)}){over}{counted}."
        )
    else:
        sentences.append(f"{plural(done, 'trial')} done{counted}.")
    sentences += [
        f"{plural(times, 'trial')} made no update: {NEVER_BEGAN[reason]} (reason {reason})."
        for reason, times in group.never_began.items()
    ]
    if group.num_without_value:
        sentences.append(
            f"{plural(group.num_without_value, 'trained trial')} had no finite {group.metric.replace('_', ' ')} "
            "and counted as useless."
        )
    return sentences

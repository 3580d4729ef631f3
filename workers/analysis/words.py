"""The verdict in plain words: what a training engineer reads first."""

import math
from collections.abc import Sequence

from workers.analysis.comparison import Comparison, Verdict
from workers.analysis.costs import ProbeQuality
from workers.analysis.headline import headline
from workers.analysis.phrases import some, steps_text, usable_ratio, usable_text
from workers.analysis.plain import alike, listed, number, plural, signed
from workers.analysis.question import Question
from workers.analysis.ranking import Contender, Group
from workers.analysis.usable import LargestUsable

GOOD_SHARE = 0.9
"""Of the points of a probe: where fewer converged, the verdict says so."""
_VERB = {Verdict.WINS: "wins", Verdict.LOSES: "loses", Verdict.TIES: "ties"}


def paragraph(group: Group, question: Question) -> tuple[str, ...]:
    """The sentences of one group's verdict, most important first."""
    finished = [each for each in group.contenders if each.n > 0]
    if not finished:
        return (f"No trial of {group.label} is done yet, so there is nothing to tell.", *_counts(group))
    tuned = [*_tuned_result(group, question)]
    steps = _steps(group, question)
    # a function with a known answer is asked how long, not how low
    usable = _usable(group)
    short = [sentence] if (sentence := headline(group)) else []
    leading = [*steps, *tuned, *usable] if group.analytic else [*short, *tuned, *usable, *steps]
    return (*leading, *_edges(group), *_counts(group), *_caveats(group, question))


def measured(probes: Sequence[ProbeQuality]) -> list[str]:
    """What must be known of the measurements before they are relied on: how many of them did not converge."""
    loose = [probe for probe in probes if probe.points and probe.converged < GOOD_SHARE]
    told = [
        f"{probe.probe} converged in {100 * probe.converged:.0f} % of its {probe.points:,} points" for probe in loose
    ]
    if not told:
        return []
    return [
        f"Measured\n{some(told)}; the others carry their residual (column `error`). A larger probe_budget,"
        " or fewer points, lets more converge."
    ]


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
    return f"{contender.schedule} {_VERB[comparison.verdict]}: {measured}{_qualification(comparison, question)}"


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
            part += _ratio(each.usable, baseline.usable)
        parts.append(part)
    return [f"Largest usable peak LR: {some(parts)}."]


def _ratio(usable: LargestUsable, baseline: LargestUsable) -> str:
    ratio = usable_ratio(usable, baseline)
    return f", {ratio} the baseline's" if ratio else ""


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
    if group.num_without_value:
        sentences.append(
            f"{plural(group.num_without_value, 'trained trial')} had no finite {group.metric.replace('_', ' ')} "
            "and counted as useless."
        )
    return sentences


def _caveats(group: Group, question: Question) -> list[str]:
    compared = [(each, each.comparison) for each in group.contenders if each.comparison is not None]
    several_seeds = [(each, pair) for each, pair in compared if pair.n > 1 and not pair.unfinished]
    sentences = []
    counts = {each.num_configurations for each in group.contenders}
    if len(counts) > 1:
        told = some([f"{each.schedule} {each.num_configurations}" for each in group.contenders])
        sentences.append(f"Unequal tuning budgets favour whoever had more configurations: {told}.")
    if several_seeds and question.equivalence_margin is None:
        sentences.append("No equivalence_margin is set, so no tie can be declared.")
    if several_seeds and max(counts) > 1:
        sentences.append(_held_out(several_seeds, group))
    return sentences


def _held_out(compared: list[tuple[Contender, Comparison]], group: Group) -> str:
    parts = []
    for contender, comparison in compared:
        held_out = comparison.held_out
        if math.isnan(held_out.low):
            continue
        turned = held_out.mean * comparison.difference < 0 or not (held_out.low > 0 or held_out.high < 0)
        flag = " (no longer clear)" if turned and comparison.verdict in (Verdict.WINS, Verdict.LOSES) else ""
        parts.append(f"{contender.schedule} {signed(held_out.mean)}{flag}")
    told = f": {some(parts)}" if parts else ""
    return (
        "Rates are chosen and scored on the same seeds, which flatters every schedule a little; "
        f"with each seed scored at the rate that the others chose, the differences are{told or ' not known'}."
        if told
        else "Rates are chosen and scored on the same seeds, which flatters every schedule a little."
    )

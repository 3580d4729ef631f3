"""The verdict in one sentence: what to do about warmup, before the numbers that say so."""

import math

from workers.analysis.comparison import Verdict
from workers.analysis.phrases import usable_against, usable_ratio
from workers.analysis.plain import listed, number
from workers.analysis.ranking import Contender, Group

_SAID = {Verdict.WINS: "win", Verdict.LOSES: "lose", Verdict.TIES: "tie"}


def headline(group: Group) -> str:
    """One sentence; empty where there is nothing to compare."""
    baseline = group.baseline
    compared = [each for each in group.contenders if each.comparison is not None]
    if baseline is None or not compared or any(each.comparison.n < 2 for each in compared if each.comparison):
        return ""
    tuned, rate = _tuned(baseline, compared), _usable(baseline, compared)
    return f"In short: {tuned}{'; ' + rate if rate else ''}."


def _tuned(baseline: Contender, compared: list[Contender]) -> str:
    by_verdict = {
        verdict: [each.schedule for each in compared if each.comparison and each.comparison.verdict is verdict]
        for verdict in Verdict
    }
    if winners := by_verdict[Verdict.WINS]:
        return f"once each is tuned, {_some(winners)} beat{'s' if len(winners) == 1 else ''} {baseline.schedule}"
    if len(by_verdict[Verdict.TIES]) == len(compared):
        return f"once each is tuned, nothing is gained or lost against {baseline.schedule}: all tie"
    if len(by_verdict[Verdict.LOSES]) == len(compared):
        return f"once each is tuned, {baseline.schedule} is better than every other schedule"
    counts = [
        f"{len(names)} {_SAID[verdict]}{'s' if len(names) == 1 else ''}"
        for verdict, names in by_verdict.items()
        if names and verdict in _SAID
    ]
    open_ = len(by_verdict[Verdict.CANNOT_TELL])
    counts += [f"{open_} cannot be told"] if open_ else []
    return f"once each is tuned, no schedule was shown to beat {baseline.schedule} ({listed(counts)})"


def _usable(baseline: Contender, compared: list[Contender]) -> str:
    known = [each for each in compared if usable_ratio(each.usable, baseline.usable)]
    if not known:
        return ""
    best = max(known, key=lambda each: each.usable.rate)
    if best.usable.rate > baseline.usable.rate:
        alike = [each.schedule for each in known if each.usable.rate == best.usable.rate]
        against = usable_against(best.usable, baseline.usable)
        at_least = "at least " if best.usable.at_edge else ""
        return (
            f"the largest usable peak LR is {against} with {_some(alike)}:"
            f" {at_least}{number(best.usable.rate, 3)} instead of {number(baseline.usable.rate, 3)}"
        )
    if all(each.usable.rate == baseline.usable.rate for each in known) and not math.isnan(baseline.usable.rate):
        return f"the largest usable peak LR is the same with and without ({number(baseline.usable.rate, 3)})"
    return "no schedule has a larger usable peak LR than the baseline"


def _some(names: list[str]) -> str:
    return listed(names) if len(names) <= 3 else f"{len(names)} schedules ({', '.join(names[:3])}, ...)"

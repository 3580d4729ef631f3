"""The smoothness law in words: whether it holds in this study, how well, and why not."""

from collections.abc import Sequence

from workers.analysis.laws import WHOLE, GroupLaws, Law
from workers.analysis.plain import number
from workers.analysis.question import Question
from workers.analysis.ranking import Group
from workers.laws.judging import LawAnswer, Range
from workers.laws.power_law import PowerLaw
from workers.laws.regressors import NAMED

NAMES = {
    "hessian_norm": "the Hessian's norm",
    "sharpness": "sharpness",
    "secant_smoothness": "secant smoothness",
    "preconditioned_sharpness": "preconditioned sharpness",
}


def law_sentences(group: Group, question: Question, measured: GroupLaws) -> list[str]:
    """Whether the law holds in a group, then the numbers that say so."""
    main, *rest = measured.laws
    told = [_opening(main), *_drawn(main), *_numbers(main), *_phases(main, rest), *_others(main, rest)]
    reason = question.no_threshold(group.optimizer_entry, mup=group.is_mup)
    if main.response != "preconditioned_sharpness" and reason is not None:
        told.append(
            f"{group.optimizer} steps along a preconditioned gradient: the law of the plain Hessian bounds no rate of"
            " it."
        )
    return told


def formula(law: PowerLaw) -> str:
    """`1 + 3.9 gap^0.98`."""
    if law.k_rho == 0:
        return f"{number(law.k0, 3)} (a constant)"
    power = f"{number(law.k_rho, 3)} gap^{number(law.rho, 3)}"
    return power if law.k0 == 0 else f"{number(law.k0, 3)} + {power}"


def because(law: Law, most: int = 4) -> str:
    """The reasons of an answer, the first few."""
    return "; ".join(law.fit.reasons[:most])


def _opening(main: Law) -> str:
    said = f"||Hessian|| <= K0 + Krho gap^rho, read from {NAMES[main.response]}: {main.fit.answer}"
    return f"{said}: {because(main)}."


def _drawn(main: Law) -> list[str]:
    """Of a function without noise: what an interval over its trials is, and is not."""
    if main.fit.unit == "seed" or not main.fit.law.k0 >= 0:
        return []
    return [
        "Nothing is drawn in these trials, so that every seed is the same trial: the"
        f" {main.fit.num_clusters} that differ count one by one, all from one start. Intervals over them say how the"
        " fit hangs on which of them are in it, not what chance or another start would make of it."
    ]


def _numbers(main: Law) -> list[str]:
    fit = main.fit
    if not fit.law.k0 >= 0:
        return []
    optimum = {"given": "the known optimum", "zero": "0 taken as the optimum", "fitted": "the fitted optimum"}
    ranges = [_range(name, value) for name, value in (("rho", fit.rho), ("K0", fit.k0), ("Krho", fit.k_rho))]
    known = [each for each in ranges if each]
    over = f" ({', '.join(known)}: 95 % over resampled {fit.unit}s)" if known and fit.law.k_rho > 0 else ""
    told = [
        f"Its best fit is {formula(fit.law)}{over}, the gap being the loss minus {number(main.optimum, 3)}"
        f" ({optimum[main.optimum_kind]}), {number(fit.gap_low, 3)} to {number(fit.gap_high, 3)}: R^2"
        f" {number(fit.r2, 3)} in log curvature over {fit.num_points:,} points of {fit.num_trials:,} trials. As a"
        f" bound: {100 * fit.violated_by_law:.0f} % of the points lie above the fit and"
        f" {100 * fit.violated_by_envelope:.0f} % above the envelope {formula(fit.envelope)}; raised"
        f" {number(fit.cover, 3)} x the fit lies above all."
    ]
    shares = [
        (NAMED[each.regressor], f"{100 * max(0.0, each.held_out_r2):.0f} %")
        for each in fit.regressors
        if each.held_out_r2 == each.held_out_r2
    ]
    if len(shares) > 1:
        (first, share), *others = shares
        rest = ", ".join(f"{name} {share}" for name, share in others)
        told.append(f"Of what was left out {first} explains {share} of the variance, {rest}.")
    if main.joint_rho == main.joint_rho and main.optimum_kind == "zero":
        c = main.joint_optimum
        span = f" ({number(c.low, 3)} to {number(c.high, 3)})" if c.low == c.low else ""
        told.append(
            f"With the optimum fitted too, and K0 = 0, it is {number(c.value, 3)}{span} and rho"
            f" {number(main.joint_rho, 3)}: an optimum that is wrong bends the slope."
        )
    return told


def _range(name: str, value: Range) -> str:
    return f"{name} {number(value.low, 3)} to {number(value.high, 3)}" if value.low == value.low else ""


def _phases(main: Law, rest: Sequence[Law]) -> list[str]:
    parts = [
        f"{each.phase} {each.fit.answer}"
        + (f", {formula(each.fit.law)}" if each.fit.answer is LawAnswer.SUPPORTED else f" ({because(each, 1)})")
        for each in rest
        if each.phase != WHOLE and each.response == main.response
    ]
    return [f"By phase: {'; '.join(parts)}."] if parts else []


def _others(main: Law, rest: Sequence[Law]) -> list[str]:
    others = [each for each in rest if each.phase == WHOLE and each.response != main.response]
    parts = [
        f"from {NAMES[each.response]} {each.fit.answer} ({formula(each.fit.law)}, R^2 {number(each.fit.r2, 3)})"
        for each in others
        if each.fit.law.k0 >= 0
    ]
    return [f"Read {'; '.join(parts)}."] if parts else []

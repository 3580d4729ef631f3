"""How a clause of the verdict, and a cell of a table, is worded."""

import math

from workers.analysis.comparison import Verdict
from workers.analysis.plain import number, plural
from workers.analysis.ranking import Contender
from workers.analysis.usable import LargestUsable

MAX_CLAUSES = 12
VERB = {Verdict.WINS: "wins", Verdict.LOSES: "loses", Verdict.TIES: "ties"}
_STEPS = {1: "one", 2: "two", 3: "three"}


def some(clauses: list[str]) -> str:
    """A sentence names a dozen at most."""
    more = len(clauses) - MAX_CLAUSES
    return "; ".join(clauses[:MAX_CLAUSES] + ([f"and {more:,} more (see the ranking)"] if more > 0 else []))


def usable_text(usable: LargestUsable) -> str:
    """The largest usable rate and what is known of the edge above it."""
    if math.isnan(usable.rate):
        text = "none yet" if usable.unfinished else "none of the grid"
    elif usable.at_edge:
        text = f"at least {number(usable.rate, 3)} (the grid's end)"
    elif math.isnan(usable.first_unusable_above):
        text = f"at least {number(usable.rate, 3)}"
    else:
        beyond = (
            f"{number(usable.first_unusable_above, 3)}: {usable.covered_above} of {plural(usable.num_trials, 'seed')}"
        )
        text = f"{number(usable.rate, 3)} ({beyond})"
    if usable.unfinished and not math.isnan(usable.rate):
        text += ", larger ones not finished"
    return text + (", with gaps below" if usable.has_hole else "")


def usable_bound(usable: LargestUsable) -> str:
    """The same in a few characters: `0.3`, `>= 3`, `none`."""
    if math.isnan(usable.rate):
        return "?" if usable.unfinished else "none"
    is_bound = usable.at_edge or usable.unfinished or math.isnan(usable.first_unusable_above)
    return (">= " if is_bound else "") + number(usable.rate, 3)


def usable_ratio(usable: LargestUsable, baseline: LargestUsable) -> str:
    """`3.2 x`, `at least 3.2 x`; empty where a grid's end or a missing edge leaves nothing to say."""
    if math.isnan(usable.rate) or math.isnan(baseline.rate):
        return ""
    open_above, open_below = (each.at_edge or each.unfinished for each in (usable, baseline))
    if open_above and open_below:
        return ""
    bound = "at least " if open_above else "at most " if open_below else ""
    return f"{bound}{number(usable.rate / baseline.rate, 3)} x"


def usable_against(usable: LargestUsable, baseline: LargestUsable) -> str:
    """`one grid step above the baseline's (3.16 x)`; empty where `usable_ratio` is.

    In steps of the grid, because the edge is known no closer than that.
    """
    ratio = usable_ratio(usable, baseline)
    if not ratio:
        return ""
    if usable.grid != baseline.grid:
        return f"{ratio} the baseline's"
    steps = usable.grid.index(usable.rate) - baseline.grid.index(baseline.rate)
    if steps == 0:
        return "the same as the baseline's"
    bound = "at least " if ratio.startswith("at ") else ""
    count = f"{_STEPS.get(abs(steps), abs(steps))} grid step{'' if abs(steps) == 1 else 's'}"
    side = "above" if steps > 0 else "below"
    return f"{bound}{count} {side} the baseline's ({number(usable.rate / baseline.rate, 3)} x)"


def steps_text(contender: Contender) -> str:
    """`46`, `median 120 (5 of 5 reached it)`, `not reached (1 of 5)`."""
    steps = contender.steps
    if steps.n == 1:
        return number(steps.median, 7) if steps.reached else "not reached"
    reached = f"{steps.reached} of {steps.n}"
    return f"not reached ({reached})" if math.isnan(steps.median) else f"median {number(steps.median, 7)} ({reached})"

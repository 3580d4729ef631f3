"""What a reader must know besides a verdict: unequal tuning, no margin, rates chosen on the seeds that are scored."""

import math

from workers.analysis.comparison import Comparison, Verdict
from workers.analysis.phrases import VERB, some
from workers.analysis.plain import alike, number
from workers.analysis.question import Question
from workers.analysis.ranking import Contender, Group


def caveats(group: Group, question: Question) -> list[str]:
    """Sentences, the last one on the luck of the chosen rates."""
    compared = [(each, each.comparison) for each in group.contenders if each.comparison is not None]
    several_seeds = [(each, pair) for each, pair in compared if pair.n > 1 and not pair.unfinished]
    sentences = []
    if unit := question.unit_sentence(group.optimizer_entry):
        sentences.append(unit)
    if group.seeds > 1 and not question.seeds_matter(group.workload_entry):
        sentences.append(
            f"Nothing is drawn in these trials: the {group.seeds} seeds are one and the same trial, so that an interval"
            " without width over them is no evidence of its own."
        )
    counts = {each.num_configurations for each in group.contenders}
    if len(counts) > 1:
        told = some([f"{each.schedule} {each.num_configurations}" for each in group.contenders])
        sentences.append(f"Unequal tuning budgets favour whoever had more configurations: {told}.")
    sentences += _closed_loops(group)
    if several_seeds and question.equivalence_margin is None:
        sentences.append("No equivalence_margin is set, so no tie can be declared.")
    if several_seeds and max(counts) > 1:
        sentences.append(_held_out(several_seeds, question))
    return sentences


def _closed_loops(group: Group) -> list[str]:
    """What it takes to use them on a problem of which nothing is known yet."""
    if not group.knew:
        return []
    told = some([f"{name}: {knew}{_tries(group.tried.get(name))}" for name, knew in group.knew.items()])
    return [
        f"Closed loops know more than an open schedule does, and what they know had to come from somewhere ({told})."
    ]


def _tries(passes: float | None) -> str:
    return "" if passes is None else f", {passes:,.0f} forward passes a trial"


def _held_out(compared: list[tuple[Contender, Comparison]], question: Question) -> str:
    """Whether a verdict hangs on the luck of the chosen rate. Told as a check of each verdict, not as a second one."""
    opening = (
        "Rates are chosen and scored on the same seeds, which flatters every schedule a little; as a check, not a"
        " second test, each seed was also scored at the rate that the other seeds chose"
    )
    known = [(each, pair) for each, pair in compared if not math.isnan(pair.held_out.low)]
    doubtful = [(each, pair) for each, pair in known if _is_doubtful(pair, question)]
    if not known:
        return f"{opening.partition(';')[0]}."
    if not doubtful:
        return f"{opening}: no verdict changes."
    parts = [f"{each.schedule} {VERB[pair.verdict]} above, but {_checked(pair, question)}" for each, pair in doubtful]
    return f"{opening}, and there some verdicts are not clear: {some(parts)}."


def _checked(pair: Comparison, question: Question) -> str:
    difference, low, high = alike(pair.held_out.mean, pair.held_out.low, pair.held_out.high)
    level = f"{number(100 * question.confidence, 3)} % interval {low} to {high}"
    return f"differs by {difference} in the check ({level}, if anything too narrow)"


def _is_doubtful(pair: Comparison, question: Question) -> bool:
    """A win or a loss whose check turns round or may be 0; a tie whose check lies outside the margin on average."""
    check = pair.held_out
    if pair.verdict is Verdict.TIES:
        return abs(check.mean) > (question.equivalence_margin or 0.0)
    if pair.verdict is Verdict.CANNOT_TELL:
        return False
    return check.mean * pair.difference <= 0 or check.low <= 0 <= check.high

"""What came of a derived study: was warmup needed, by how many steps, and had the law foretold it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workers.analysis.cells import CellTable
from workers.analysis.comparison import Verdict, best_configuration
from workers.analysis.intervals import MeanInterval, mean_interval
from workers.analysis.plain import alike, number, plural
from workers.analysis.question import Question
from workers.analysis.ranking import Contender, Group
from workers.analysis.reading import ResultFolder
from workers.laws.judging import LawAnswer

LENGTH = "schedule.warmup.steps"
SUPPORTED = str(LawAnswer.SUPPORTED)
_SAID = {
    "warmup_steps": "the shortest warmup that is no worse than the best",
    "rate_stable_at_once": "the largest peak LR at which every seed trains without warmup",
    "curvature_after_warmup": "curvature after the derived warmup",
}


@dataclass(frozen=True)
class Outcome:
    """One prediction beside what was measured; `held` None where it was not measured."""

    quantity: str
    foretold: float
    low: float
    high: float
    measured: float
    held: bool | None


@dataclass(frozen=True)
class Derived:
    """law_answer: what the law came to in the pilot. needed: whether none loses against tuned linear; None where it
    cannot be told. steps: the shortest length that is no worse than the best; NaN likewise. against_none,
    against_linear: the derived arm's mean difference, paired by seed. gradients: by arm, the pilot's in the derived
    arm's."""

    group: str
    pilot: str
    law_answer: str
    foretold_needed: bool
    needed: bool | None
    steps: float
    lengths: tuple[float, ...]
    against_none: MeanInterval
    against_linear: MeanInterval
    gradients: Mapping[str, float]
    outcomes: tuple[Outcome, ...]

    @property
    def was_foretold(self) -> bool | None:
        """Whether the need and all numbers that were measured are as foretold; None where the need cannot be told."""
        if self.needed is None:
            return None
        return self.needed == self.foretold_needed and all(each.held is not False for each in self.outcomes)


def derived_outcome(
    folder: ResultFolder,
    spec: Mapping[str, Any],
    question: Question,
    groups: Sequence[Group],
    table: CellTable,
) -> Derived | None:
    """What came of `derived_from` of a study's spec; None where it has none, or no trial is done."""
    frozen = spec.get("derived_from")
    if not frozen or not groups or not any(each.n for each in groups[0].contenders):
        return None
    group, arms = groups[0], frozen["arms"]
    own = {arm: _contender(group, name) for arm, name in arms.items()}
    none, derived = own["none"], own["derived"]
    lengths = _by_length(table, group, arms, question)
    steps = _shortest(lengths, table, group, question)
    measured = {
        "warmup_steps": steps,
        "rate_stable_at_once": _stable(table, group, arms["none"]),
        "curvature_after_warmup": _after_warmup(folder, question, frozen, derived, table),
    }
    return Derived(
        group=group.label,
        pilot=str(frozen["name"]),
        law_answer=str(frozen["law"]["answer"]),
        foretold_needed=bool(frozen["warmup_needed"]),
        needed=_needed(none),
        steps=steps,
        lengths=tuple(sorted(lengths)),
        against_none=_paired(table, derived, none, question),
        against_linear=_paired(table, derived, group.baseline, question),
        gradients=_gradients(table, group, arms, float(frozen["pilot_gradients"])),
        outcomes=tuple(_outcome(each, measured[each["quantity"]]) for each in frozen["predictions"]),
    )


def derived_sentences(found: Derived | None, group: Group, question: Question) -> list[str]:
    """Entries of the verdict of the group that was derived."""
    if found is None or found.group != group.label:
        return []
    need = {True: "was needed", False: "was not needed", None: "cannot be told to be needed or not"}[found.needed]
    foretold = "needed" if found.foretold_needed else "not needed"
    right = {
        True: "The law had foretold it",
        False: "The law had not foretold it",
        None: "Whether the law had foretold",
    }
    held = [each for each in found.outcomes if each.held is not None]
    count = f"{sum(bool(each.held) for each in held)} of {plural(len(held), 'number')}"
    tried = ", ".join(number(each, 6) for each in found.lengths)
    by = f", by {plural(int(found.steps), 'step')}" if found.needed and not math.isnan(found.steps) else ""
    opening = f"Derived from {found.pilot}: warmup {need}{by} (lengths tried: {tried})."
    weak = (
        f"The pilot did not support the law that all this follows from ({found.law_answer}): it was derived even so,"
        " and what holds by it may hold by chance."
    )
    verdict = (
        f"{right[found.was_foretold]}{' cannot be told' if found.was_foretold is None else ''}: it said {foretold}, and"
        f" {count} lie in their intervals: {'; '.join(map(_told, found.outcomes))}."
    )
    sides = [
        f"{name} {_difference(interval, question)}"
        for name, interval in (("none", found.against_none), ("tuned linear", found.against_linear))
        if interval.n
    ]
    spent = ", ".join(f"{arm.replace('_', ' ')} {number(value, 4)}" for arm, value in found.gradients.items())
    cost = (
        f"Gradients by arm, the pilot's charged to derived: {spent}. The derived arm is one configuration, untuned; its"
        " tuning budget is the pilot."
    )
    return [
        opening,
        *([] if found.law_answer == SUPPORTED else [weak]),
        verdict,
        *([f"The derived arm against {'; against '.join(sides)}."] if sides else []),
        cost,
    ]


def _told(each: Outcome) -> str:
    upper = f" to {number(each.high, 3)}" if math.isfinite(each.high) else " or more"
    said = f"{_SAID[each.quantity]} {number(each.foretold, 3)} ({number(each.low, 3)}{upper})"
    if each.held is None:
        return f"{said}, not measured"
    return f"{said}, measured {number(each.measured, 3)}{'' if each.held else ': outside'}"


def _difference(interval: MeanInterval, question: Question) -> str:
    if interval.n < 2 or math.isnan(interval.low):
        return f"differs by {number(interval.mean, 3)}"
    mean, low, high = alike(interval.mean, interval.low, interval.high)
    return f"differs by {mean} ({number(100 * question.confidence, 3)} % interval {low} to {high}, n = {interval.n})"


def _contender(group: Group, name: str) -> Contender | None:
    return next((each for each in group.contenders if each.schedule == name), None)


def _needed(none: Contender | None) -> bool | None:
    comparison = None if none is None else none.comparison
    if comparison is None or comparison.verdict is Verdict.CANNOT_TELL:
        return None
    return comparison.verdict is Verdict.LOSES


def _by_length(table: CellTable, group: Group, arms: Mapping[str, str], question: Question) -> dict[float, int]:
    """Length of warmup -> its best cell; 0 is none."""
    cells = table.cells[(table.cells["group"] == group.label).to_numpy()]
    found = {}
    steps = _stated_lengths(table)
    for length, own in cells.assign(length=[steps.get(cell, math.nan) for cell in cells.index]).groupby(
        "length", sort=True
    ):
        of_arm = own[own["contender"].isin([arms["none"], arms["linear"]]).to_numpy()]
        if of_arm.empty:
            continue
        best = best_configuration(
            table.scores_KC[of_arm.index.to_numpy()], higher_is_better=question.higher_is_better(group.workload_entry)
        )
        if best is not None:
            found[float(length)] = int(of_arm.index[best])
    return found


def _stated_lengths(table: CellTable) -> dict[int, float]:
    """Cell -> the length that was asked for: the swept value, else what its trials say."""
    trials = table.trials
    said = trials["warmup_steps"].clip(lower=0).astype(float)
    if LENGTH in trials:
        stated = pd.to_numeric(trials[LENGTH], errors="coerce")
        said = stated.where(stated.notna(), said)
    return {int(cell): float(value) for cell, value in said.groupby(trials["cell"]).max().items()}


def _shortest(lengths: Mapping[float, int], table: CellTable, group: Group, question: Question) -> float:
    """The shortest length whose best cell is not shown to be worse than the best of all, or is within the margin."""
    if not lengths:
        return math.nan
    sign = -1.0 if question.higher_is_better(group.workload_entry) else 1.0
    means = {length: sign * float(np.nanmean(table.scores_KC[cell])) for length, cell in lengths.items()}
    best = lengths[min(means, key=lambda length: means[length])]
    margin = question.equivalence_margin or 0.0
    for length in sorted(lengths):
        rest = sign * (table.scores_KC[lengths[length]] - table.scores_KC[best])
        interval = mean_interval(rest[np.isfinite(rest)], question.confidence)
        if interval.mean <= margin or (interval.low <= 0.0):
            return length
    return math.nan


def _paired(table: CellTable, ours: Contender | None, theirs: Contender | None, question: Question) -> MeanInterval:
    if ours is None or theirs is None or ours.best_cell < 0 or theirs.best_cell < 0:
        return mean_interval([], question.confidence)
    rest = table.scores_KC[ours.best_cell] - table.scores_KC[theirs.best_cell]
    return mean_interval(rest[np.isfinite(rest)], question.confidence)


def _stable(table: CellTable, group: Group, none: str) -> float:
    """The largest rate at which all trials of the arm trained; 0 where that is none; NaN where none is done."""
    cells = table.cells[(table.cells["group"] == group.label).to_numpy()]
    own = cells[(cells["contender"] == none).to_numpy()]
    if not (own["done"] > 0).any():
        return math.nan
    return float(own.loc[(own["trained"] == own["num_trials"]).to_numpy(), "rate"].to_numpy().max(initial=0.0))


def _after_warmup(
    folder: ResultFolder,
    question: Question,
    frozen: Mapping[str, Any],
    derived: Contender | None,
    table: CellTable,
) -> float:
    """The median over the derived arm's trials of curvature at the first probe point behind its warmup."""
    if derived is None or derived.best_cell < 0:
        return math.nan
    trials = table.trials[(table.trials["cell"] == derived.best_cell).to_numpy() & table.trials["done"].to_numpy()]
    ids, length = trials["trial_id"].tolist(), int(trials["warmup_steps"].clip(lower=0).max())
    probes = folder.rows("probes", ("trial_id", "step", "probe", "value", "converged"), ids)
    of_kind = probes["probe"].map(question.probe_kind) == frozen["law"]["response"]
    behind = probes[(of_kind & probes["converged"] & (probes["step"] >= length)).to_numpy()]
    return float(behind.loc[(behind["step"] == behind["step"].min()).to_numpy(), "value"].median())


def _gradients(table: CellTable, group: Group, arms: Mapping[str, str], pilot: float) -> dict[str, float]:
    trials = table.trials[(table.trials["group"] == group.label).to_numpy()]
    spent = trials.groupby("schedule_entry")["gradients"].sum()
    return {
        arm: float(np.nan_to_num(spent.get(name, 0.0))) + (pilot if arm == "derived" else 0.0)
        for arm, name in arms.items()
    }


def _outcome(said: Mapping[str, Any], measured: float) -> Outcome:
    high = math.inf if said.get("high") is None else float(said["high"])
    held = None if math.isnan(measured) else bool(said["low"] <= measured <= high)
    return Outcome(said["quantity"], float(said["value"]), float(said["low"]), high, measured, held)

"""What the figures are drawn from: the groups, their cells, and the curves of each contender's best cell."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workers.analysis.cells import CellTable
from workers.analysis.figures.colours import Look, looks
from workers.analysis.laws import GroupLaws
from workers.analysis.question import Question
from workers.analysis.ranking import Contender, Group
from workers.analysis.reading import ResultFolder

MAX_DRAWN = 20
"""Contenders in one panel."""
MAX_POINTS = 400
"""Points of one curve on the page; beyond, neighbours are merged and the extremes kept."""


@dataclass(frozen=True)
class FigureSource:
    """Everything that a figure may read."""

    question: Question
    groups: tuple[Group, ...]
    table: CellTable
    steps: pd.DataFrame
    probes: pd.DataFrame
    looks: dict[str, Look]
    best_trials: dict[int, list[str]]
    """Best cell -> its done trials."""
    events: pd.DataFrame
    """Found in the curves, `values` as mappings."""
    laws: Mapping[str, GroupLaws]
    """Group label -> its laws, where curvature was measured."""

    def curves(self, rows: pd.DataFrame, contender: Contender) -> pd.DataFrame:
        """The `rows` (of `steps` or `probes`) of the done trials of the contender's best cell."""
        return rows[rows["trial_id"].isin(self.best_trials.get(contender.best_cell, ())).to_numpy()]

    def cells_of(self, group: Group) -> pd.DataFrame:
        """The cells of one group."""
        return self.table.cells[(self.table.cells["group"] == group.label).to_numpy()]

    def probes_of_kind(self, kind: str) -> pd.DataFrame:
        """The probe rows of one kind; a probe that the spec does not name is taken by its own name."""
        of_kind = self.probes["probe"].map(self.question.probe_kind) == kind
        return self.probes[of_kind.to_numpy(dtype=bool)]

    def drawn(self, group: Group) -> list[Contender]:
        """The contenders that are drawn, in the order of the spec: of many, the baseline and the best."""
        chosen = [each for each in group.ranked if not each.is_baseline][: MAX_DRAWN - 1]
        return [each for each in group.contenders if each.is_baseline or each in chosen]

    def baseline_last(self, group: Group) -> list[Contender]:
        """The same with the baseline on top: its dashes let what lies under them be seen."""
        return sorted(self.drawn(group), key=lambda each: each.is_baseline)

    def note(self, group: Group) -> str:
        """Says it where not all contenders are drawn."""
        drawn, there = len(self.drawn(group)), len(group.contenders)
        return "" if drawn == there else f"Drawn: the best {drawn} of {there} schedules, the baseline among them."

    def look(self, contender: str) -> Look:
        """How a contender is drawn."""
        return self.looks[contender]


def read_source(
    folder: ResultFolder,
    question: Question,
    groups: tuple[Group, ...],
    table: CellTable,
    laws: Mapping[str, GroupLaws],
    events: pd.DataFrame,
) -> FigureSource:
    """Read the curves of the best cells alone: the others would only be drawn over one another."""
    best = [each.best_cell for group in groups for each in group.contenders if each.best_cell >= 0]
    trials = table.trials[table.trials["cell"].isin(best).to_numpy() & table.trials["done"].to_numpy()]
    ids = trials["trial_id"].tolist()
    probes = folder.rows("probes", ("trial_id", "step", "probe", "value", "loss", "lr"), ids)
    steps = folder.rows("steps", ("trial_id", "step", "train_loss"), ids)
    contenders = [(each.schedule, each.is_baseline) for group in groups for each in group.contenders]
    best_trials = {int(cell): list(rows) for cell, rows in trials.groupby("cell")["trial_id"]}
    return FigureSource(question, groups, table, steps, probes, looks(contenders), best_trials, events, laws)


def curve_over_seeds(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """Median, low and high of `value` over trials at each step: columns step, median, low, high, at most MAX_POINTS.

    A trial that ended early, or whose value is not finite, is not in the later medians.
    """
    rows = rows[np.isfinite(rows[value].to_numpy(dtype=float))]
    if rows.empty:
        return pd.DataFrame({"step": [], "median": [], "low": [], "high": []})
    by_step = rows.groupby("step", sort=True)[value]
    curve = pd.DataFrame({"median": by_step.median(), "low": by_step.min(), "high": by_step.max()}).reset_index()
    every = -(-len(curve) // MAX_POINTS)
    if every == 1:
        return curve
    part = np.arange(len(curve)) // every
    return curve.groupby(part).agg({"step": "first", "median": "median", "low": "min", "high": "max"})


def rate_axis(group: Group) -> str:
    """The title of an axis of peak learning rates."""
    return "peak learning rate" + (f" (x {group.rate_unit} at the start)" if group.rate_unit else "")

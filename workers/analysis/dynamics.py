"""What happened on the way, per contender and per cell: counts of events and the regime that most seeds are in."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workers.analysis.cells import CellTable
from workers.analysis.events import KINDS
from workers.analysis.ranking import Group
from workers.analysis.reading import ResultFolder


@dataclass(frozen=True)
class Dynamics:
    """Of the `n` done trials of a schedule's best cell: in how many each kind of event was found, and how often in all.

    regime: C1, C2, C3 -> trials; a trial whose sharpness was read too seldom has none.
    """

    label: str
    schedule: str
    peak_lr: float
    n: int
    trials: dict[str, int]
    times: dict[str, int]
    regime: dict[str, int]


def found_events(folder: ResultFolder) -> pd.DataFrame:
    """The rows of `events` that were found in curves, `values` as mappings."""
    rows = folder.rows("events", ("trial_id", "step", "kind", "values"))
    rows = rows[rows["kind"].isin(KINDS).to_numpy()]
    return rows.assign(values=[json.loads(text) for text in rows["values"]])


def dynamics(events: pd.DataFrame, groups: Sequence[Group], table: CellTable) -> tuple[Dynamics, ...]:
    """One per contender; empty where no event of any kind was found."""
    if events.empty:
        return ()
    trials = table.trials[table.trials["done"].to_numpy()]
    by_cell = {cell: set(rows["trial_id"]) for cell, rows in trials.groupby("cell")}
    contenders = [(group, each) for group in groups for each in group.contenders]
    return tuple(
        _of_trials(events, by_cell.get(each.best_cell, set()), group.label, each.schedule, each.best_rate)
        for group, each in contenders
    )


def regimes(events: pd.DataFrame, table: CellTable) -> dict[int, str]:
    """Cell -> `C2 (4 of 5)`: the label of most of its done trials; a cell without labels is left out."""
    labels = events[(events["kind"] == "regime").to_numpy()]
    label_of = {trial: values["label"] for trial, values in zip(labels["trial_id"], labels["values"], strict=True)}
    done = table.trials[table.trials["done"].to_numpy()]
    said = {}
    for cell, rows in done.groupby("cell"):
        counted = Counter(label_of[trial] for trial in rows["trial_id"] if trial in label_of)
        if counted:
            label, times = max(sorted(counted.items()), key=lambda pair: pair[1])
            said[int(cell)] = f"{label} ({times} of {len(rows)})"
    return said


def _of_trials(events: pd.DataFrame, trials: set[str], label: str, schedule: str, rate: float) -> Dynamics:
    mine = events[events["trial_id"].isin(trials).to_numpy()]
    kinds = [kind for kind in KINDS if kind != "regime"]
    is_up = [values.get("direction", "up") == "up" for values in mine["values"]]
    counted = mine[np.array(is_up, dtype=bool)]  # an empty list would choose among the columns
    of_kind = {kind: counted[(counted["kind"] == kind).to_numpy()] for kind in kinds}
    labels = Counter(values["label"] for values in mine.loc[(mine["kind"] == "regime").to_numpy(), "values"])
    return Dynamics(
        label,
        schedule,
        rate,
        len(trials),
        {kind: int(rows["trial_id"].nunique()) for kind, rows in of_kind.items()},
        {kind: len(rows) for kind, rows in of_kind.items()},
        dict(sorted(labels.items())),
    )

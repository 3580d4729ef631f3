"""What a study spent, and how far its probes can be trusted."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from schemas.probes import probe_steps
from workers.analysis.question import Question
from workers.analysis.reading import ResultFolder


@dataclass(frozen=True)
class Cost:
    """Spent so far by one group: gradients in training-batch gradients, probes' included; Hessian-vector products."""

    label: str
    gradients: float
    hvps: int
    steps: int


@dataclass(frozen=True)
class ProbeQuality:
    """Of `points` measured, the share that converged, and what each cost in the median.

    thinned: (points taken, points asked for) of each kind of trial that ran to its end, where probe_budget did not
    pay for all.
    """

    probe: str
    points: int
    converged: float
    median_hvps: float
    median_gradients: float
    thinned: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class PhaseTime:
    """Wall time of one phase over all trials: outside every claim about bits."""

    phase: str
    seconds: float


def costs(trials: pd.DataFrame) -> tuple[Cost, ...]:
    """One row per group of scored trials, in their order."""
    return tuple(
        Cost(
            str(label),
            float(np.nansum(rows["gradients"].to_numpy(dtype=float))),
            int(rows["hvps"].clip(lower=0).sum()),
            int(rows["steps_completed"].clip(lower=0).sum()),
        )
        for label, rows in trials.groupby("group", sort=False)
    )


def probe_quality(folder: ResultFolder, question: Question, trials: pd.DataFrame) -> tuple[ProbeQuality, ...]:
    """One row per probe that the study asked for or that was taken, by name."""
    rows = folder.rows("probes", ("trial_id", "probe", "converged", "num_gradients", "num_hvps"))
    taken = set(rows["probe"])
    # of a probe that reads several points, each is a row of its own, and stands for it
    read = {name.rpartition(".")[0] for name in taken - question.probes.keys()}
    names = sorted(taken | (question.probes.keys() - read if _whole_trials(trials).any() else set()))
    qualities = []
    for name in names:
        points = rows[(rows["probe"] == name).to_numpy()]
        probe = question.probes.get(name) or question.probes.get(name.rpartition(".")[0])
        quality = ProbeQuality(
            str(name),
            len(points),
            float(points["converged"].mean()) if len(points) else math.nan,
            float(points["num_hvps"].median()) if len(points) else math.nan,
            float(points["num_gradients"].median()) if len(points) else math.nan,
            _thinned(points["trial_id"], probe, trials, question),
        )
        qualities.append(quality)
    return tuple(qualities)


def _whole_trials(trials: pd.DataFrame) -> pd.Series:
    """Those that made all of their updates: of the others it is not known what the rest would have been asked."""
    whole = trials["done"] & (trials["reason"] == "budget") & (trials["outcome"] != "diverged")
    return whole & (trials["steps_completed"] > 0)


def _thinned(
    taken: pd.Series, probe: Mapping[str, Any] | None, trials: pd.DataFrame, question: Question
) -> tuple[tuple[int, int], ...]:
    if probe is None:
        return ()
    whole = trials[_whole_trials(trials).to_numpy()]
    counts = whole["trial_id"].map(taken.value_counts()).fillna(0).astype(int)
    warmup = whole["warmup_steps"].clip(lower=0).where(~whole["schedule_entry"].isin(question.closed_loop), 0)
    kinds = pd.DataFrame({"kept": counts, "total": whole["steps_completed"], "warmup": warmup}).drop_duplicates()
    asked = [
        len(probe_steps(probe["every_steps"], probe.get("during_warmup", 0), total, steps))
        for total, steps in zip(kinds["total"].tolist(), kinds["warmup"].tolist(), strict=True)
    ]
    pairs = zip(kinds["kept"].tolist(), asked, strict=True)
    return tuple(sorted({(kept, wanted) for kept, wanted in pairs if kept < wanted}))


def phase_times(folder: ResultFolder) -> tuple[PhaseTime, ...]:
    """Seconds by phase, longest first."""
    rows = folder.rows("timings", ("trial_id", "phase", "seconds"))
    totals = rows.groupby("phase", sort=True)["seconds"].sum()
    totals = totals.sort_values(ascending=False, kind="stable")
    return tuple(PhaseTime(str(name), float(f"{seconds:.4g}")) for name, seconds in totals.items())

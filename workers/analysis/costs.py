"""What a study spent, and how far its probes can be trusted."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

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
    """Of `points` measured, the share that converged, and what each cost in the median."""

    probe: str
    points: int
    converged: float
    median_hvps: float
    median_gradients: float


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


def probe_quality(folder: ResultFolder) -> tuple[ProbeQuality, ...]:
    """One row per probe, by name."""
    rows = folder.rows("probes", ("probe", "converged", "num_gradients", "num_hvps"))
    return tuple(
        ProbeQuality(
            str(name),
            len(points),
            float(points["converged"].mean()),
            float(points["num_hvps"].median()),
            float(points["num_gradients"].median()),
        )
        for name, points in rows.groupby("probe", sort=True)
    )


def phase_times(folder: ResultFolder) -> tuple[PhaseTime, ...]:
    """Seconds by phase, longest first."""
    rows = folder.rows("timings", ("trial_id", "phase", "seconds"))
    totals = rows.groupby("phase", sort=True)["seconds"].sum()
    totals = totals.sort_values(ascending=False, kind="stable")
    return tuple(PhaseTime(str(name), float(f"{seconds:.4g}")) for name, seconds in totals.items())

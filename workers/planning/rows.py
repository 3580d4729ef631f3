"""How many record rows a trial will write, and how large they are."""

from collections.abc import Sequence

from schemas.probes import Probe
from schemas.trials import TrialSpec
from schemas.workloads import Analytic, Workload
from workers.planning.measurement import MeasurementPlan, most_points

BYTES_PER_ROW = {"steps": 34, "evaluations": 24, "probes": 60}
"""Measured on quickstart's Parquet (zstd); random digits do not compress."""


def record_rows(trial: TrialSpec, plan: MeasurementPlan, total_steps: int) -> dict[str, int]:
    """Table -> rows, at most."""
    return _rows(trial.workload, total_steps, sum(len(points.steps) for points in plan.points.values()))


def most_rows(workload: Workload, probes: Sequence[Probe], total_steps: int) -> dict[str, int]:
    """Table -> rows that a trial of this workload can write with any schedule and any budget for probes."""
    return _rows(workload, total_steps, sum(most_points(probe, total_steps) for probe in probes))


def _rows(workload: Workload, total_steps: int, num_probe_points: int) -> dict[str, int]:
    if isinstance(workload, Analytic):
        # one more: the point where it ended
        return {"steps": total_steps + 1, "evaluations": 0, "probes": num_probe_points}
    # at 0, then every so often, then at the end
    evaluations = 1 + -(-total_steps // workload.evaluation.every_steps)
    return {"steps": total_steps, "evaluations": evaluations, "probes": num_probe_points}

"""How many record rows a trial will write."""

from schemas.trials import TrialSpec
from schemas.workloads import Analytic
from workers.planning.measurement import MeasurementPlan


def record_rows(trial: TrialSpec, plan: MeasurementPlan, total_steps: int) -> dict[str, int]:
    """Table -> rows, at most."""
    analytic = isinstance(trial.workload, Analytic)
    every = None if isinstance(trial.workload, Analytic) else trial.workload.evaluation.every_steps
    return {
        "steps": total_steps + (1 if analytic else 0),
        "evaluations": 0 if every is None else len({*range(0, total_steps, every), total_steps}),
        "probes": sum(len(points.steps) for points in plan.points.values()),
    }

"""From trials to packs: pure, no torch, no Ray, no SQL. What it makes is written to the ledger and never recomputed."""

from workers.planning.estimate import Estimate, estimate, time_interval
from workers.planning.measurement import MeasurementPlan, measurement_plans
from workers.planning.packs import PackPlan, plan_packs
from workers.planning.trials import expand_trials

__all__ = [
    "Estimate",
    "MeasurementPlan",
    "PackPlan",
    "estimate",
    "expand_trials",
    "measurement_plans",
    "plan_packs",
    "time_interval",
]

"""From trials to packs: pure, no torch, no Ray, no SQL. What it makes is written to the ledger and never recomputed."""

from workers.planning.estimate import (
    Estimate,
    PastPack,
    estimate,
    gradients_of_packs,
    gradients_per_step,
    thinned_points,
    time_interval,
)
from workers.planning.measurement import MeasurementPlan, measurement_plans
from workers.planning.packs import PackPlan, plan_packs
from workers.planning.trials import expand_trials

__all__ = [
    "Estimate",
    "MeasurementPlan",
    "PackPlan",
    "PastPack",
    "estimate",
    "expand_trials",
    "gradients_of_packs",
    "gradients_per_step",
    "measurement_plans",
    "plan_packs",
    "thinned_points",
    "time_interval",
]

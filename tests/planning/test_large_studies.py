"""A million trials: planned in the time that a person waits for."""

import time

import pytest

from schemas.study import parse_study
from workers.planning import expand_trials, measurement_plans, plan_packs


@pytest.mark.proof
@pytest.mark.slow
def test_a_hundred_thousand_trials_are_planned_within_seconds(small, datasets):
    document = small(
        seeds={"count": 1000},
        peak_lrs={"grid": {"low": 1e-3, "high": 1.0, "count": 10}},
        optimizers=[{"kind": "sgd", "momentum": {"sweep": [0.0, 0.5, 0.9, 0.95, 0.99]}}],
        schedules=[
            {"name": "none", "warmup": {"kind": "none"}, "decay": {"kind": "cosine"}},
            {"name": "linear", "warmup": {"kind": "linear", "fraction": 0.1}, "decay": {"kind": "cosine"}},
        ],
        probes=[{"kind": "sharpness", "every_steps": 100}],
    )
    started = time.process_time()
    study = parse_study(document)
    assert study.num_trials() == 100_000
    assert time.process_time() - started < 3
    trials = expand_trials(study, datasets)
    packs = plan_packs(trials, datasets, device_class="cpu")
    measurement_plans(trials, study.fields, datasets)
    assert sum(len(pack.trial_ids) for pack in packs) == len(trials) == 100_000
    assert time.process_time() - started < 60

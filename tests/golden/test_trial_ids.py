"""The ids of known trials: finished trials are found again by them, so they change only on purpose."""

import json
import os
from pathlib import Path

import pytest

from schemas.catalog import DatasetFacts
from schemas.presets import preset_text
from schemas.study import parse_study
from service.spec_files import parse_document

GOLDEN = Path(__file__).with_name("trial_ids.json")
# A data set of its own, so that no change of the real one is mistaken for a change of the ids.
FACTS = DatasetFacts(
    kind="digits", sha256="0" * 64, num_train=1149, num_validation=288, num_test=360, num_classes=10,
    input_shape=(64,), reference_loss=2.302,
)  # fmt: skip
SWEPT = """
schema_version: 1
name: swept
workloads:
  - {task: classification, model: {kind: mlp, parametrization: {sweep: [standard, mup]}}, dataset: {kind: digits},
     loss: {kind: cross_entropy}, budget: {epochs: 2}, precision: float64, gradient_clip_norm: {sweep: [null, 1.0]}}
optimizers:
  - {kind: adam, betas: [0.9, {sweep: [0.99, 0.999]}]}
schedules:
  - {warmup: {sweep: [{kind: none}, {kind: exponential_convex, fraction: 0.5}]}, decay: {kind: linear, floor: 0.1}}
peak_lrs: {values: [1e-3, 1]}
seeds: [3, {initialization: 1, data_order: 2, noise: 3}]
"""


def observed(name):
    document = parse_document(SWEPT if name == "swept" else preset_text(name))
    study = parse_study(document)
    workload = next(study.variants("workloads")).spec
    trials = list(study.trials({"digits": FACTS}))
    return {
        "spec_hash": study.spec_hash,
        "measurement_id": study.measurement_id(workload),
        "trial_ids": [trial.trial_id for trial in trials[:: max(1, len(trials) // 40)]],
    }


@pytest.mark.parametrize("name", ["cosh-wall", "quickstart", "swept"])
def test_ids_are_those_of_the_golden_file(name):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    if os.environ.get("WARMUP_BENCH_REBUILD_GOLDEN") == "1":
        golden[name] = observed(name)
        GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    assert golden[name] == observed(name)

"""A data set that exists nowhere, and small studies on it."""

import pytest

from schemas.catalog import DatasetFacts
from schemas.study import parse_study
from workers.planning import expand_trials

FACTS = DatasetFacts(
    kind="digits", sha256="d" * 64, num_train=1149, num_validation=288, num_test=360, num_classes=10,
    input_shape=(64,), reference_loss=2.302,
)  # fmt: skip


PHOTOGRAPHS = FACTS.model_copy(update={"kind": "cifar10", "num_train": 10_000, "input_shape": (3, 32, 32)})
SOUNDS = FACTS.model_copy(update={"kind": "fashion_mnist", "input_shape": (12,)})


@pytest.fixture
def datasets():
    return {facts.kind: facts for facts in (FACTS, PHOTOGRAPHS, SOUNDS)}


@pytest.fixture
def small():
    """A study's document, changed at the top."""

    def build(**fields):
        workload = {
            "name": "digits",
            "task": "classification",
            "model": {"kind": "mlp"},
            "dataset": {"kind": "digits"},
            "loss": {"kind": "cross_entropy"},
            "budget": {"steps": 400},
        }
        return {
            "schema_version": 1,
            "name": "small",
            "workloads": [{**workload, **fields.pop("workload", {})}],
            "optimizers": [{"kind": "sgd"}],
            "schedules": [{"name": "none", "warmup": {"kind": "none"}, "decay": {"kind": "constant"}}],
            "peak_lrs": {"values": [0.1]},
            **fields,
        }

    return build


@pytest.fixture
def expand(datasets):
    """A document -> (its study, its trials)."""

    def build(document, limits=None):
        study = parse_study(document)
        return study, expand_trials(study, datasets, limits)

    return build

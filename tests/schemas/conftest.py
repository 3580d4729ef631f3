"""Small studies to change one thing in."""

import copy
from typing import Any

import pytest

BASE = {
    "schema_version": 1,
    "name": "small",
    "workloads": [
        {
            "name": "digits",
            "task": "classification",
            "model": {"kind": "mlp"},
            "dataset": {"kind": "digits"},
            "loss": {"kind": "cross_entropy"},
            "budget": {"steps": 400},
        }
    ],
    "optimizers": [{"kind": "sgd"}],
    "schedules": [{"name": "none", "warmup": {"kind": "none"}, "decay": {"kind": "constant"}}],
    "peak_lrs": {"values": [0.1]},
}
ANALYTIC = {
    "name": "wall",
    "task": "analytic",
    "function": {"kind": "cosh"},
    "start": {"gap": 10.0},
    "budget": {"steps": 100},
}


class _Absent:
    pass


ABSENT = _Absent()


def changed(**paths: Any) -> dict[str, Any]:
    """A small study with values set at paths such as `optimizers__0__momentum`; ABSENT takes one away."""
    document = copy.deepcopy(BASE)
    for path, value in paths.items():
        *parents, last = [int(part) if part.isdigit() else part for part in path.split("__")]
        node: Any = document
        for part in parents:
            node = node[part] if isinstance(part, int) else node.setdefault(part, {})
        if value is ABSENT:
            del node[last]
        else:
            node[last] = value
    return document


@pytest.fixture
def study():
    """`study(optimizers__0__momentum=0.9)` is a small study, changed there."""
    return changed


@pytest.fixture
def analytic():
    """`analytic(stop=...)` is an analytic workload, changed there."""
    return lambda **fields: {**copy.deepcopy(ANALYTIC), **fields}


@pytest.fixture
def absent():
    """Takes a field away."""
    return ABSENT

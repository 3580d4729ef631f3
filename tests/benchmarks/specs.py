"""The studies that the benchmarks run: quickstart, parts of it, and many trials of one step."""

import copy
from typing import Any

from service.spec_files import read_document

QUICKSTART_TRIALS = 280


def quickstart() -> dict[str, Any]:
    """The preset's document."""
    return copy.deepcopy(dict(read_document("quickstart")))


def digits_sgd(num_steps: int, num_seeds: int, num_rates: int = 8) -> dict[str, Any]:
    """Quickstart's classifier with sgd alone and without probes: 4 schedules x `num_rates` x `num_seeds` trials.

    `num_steps` is above 100: a fifth of it is a warmup's length, and 20 and 80 are those of others.
    """
    document = quickstart()
    document["workloads"][0]["budget"] = {"steps": num_steps}
    document["optimizers"] = document["optimizers"][:1]
    document["optimizers"][0]["peak_lrs"]["grid"]["count"] = num_rates
    document["seeds"] = {"count": num_seeds}
    document["probes"] = []
    return document


def one_step(num_trials: int) -> dict[str, Any]:
    """Trials of a single update of a tiny model on digits: what remains is everything around the training."""
    num_rates = 20
    assert num_trials % num_rates == 0
    workload = {
        "name": "tiny",
        "task": "classification",
        "model": {"kind": "mlp", "widths": [8], "activation": "tanh"},
        "dataset": {"kind": "digits"},
        "loss": {"kind": "cross_entropy"},
        "batch_size": 64,
        "budget": {"steps": 1},
        "evaluation": {"every_steps": 1},
    }
    grid = {"low": 0.001, "high": 0.1, "count": num_rates, "spacing": "log"}
    return {
        "schema_version": 1,
        "name": f"one-step-{num_trials}",
        "workloads": [workload],
        "optimizers": [{"name": "sgd", "kind": "sgd", "peak_lrs": {"grid": grid}}],
        "schedules": [{"name": "none", "warmup": {"kind": "none"}, "decay": {"kind": "constant"}}],
        "seeds": {"count": num_trials // num_rates},
        "analysis": {"compare": "schedule", "baseline": "none"},
    }

"""Small studies that take every room of the house."""

from typing import Any


def digits(
    num_steps: int, *, num_seeds: int = 2, widths: tuple[int, ...] = (16,), name: str = "small"
) -> dict[str, Any]:
    """Two optimizers (so two packs), 2 rates x 2 schedules x `num_seeds` each, with both probes."""
    return {
        "schema_version": 1,
        "name": name,
        "workloads": [
            {
                "name": "digits-mlp",
                "task": "classification",
                "model": {"kind": "mlp", "widths": list(widths), "activation": "tanh"},
                "dataset": {"kind": "digits"},
                "loss": {"kind": "cross_entropy"},
                "batch_size": 32,
                "budget": {"steps": num_steps},
                "evaluation": {"every_steps": max(1, num_steps // 5)},
            }
        ],
        "optimizers": [
            {"name": "sgd", "kind": "sgd", "momentum": 0.9, "peak_lrs": {"values": [0.01, 0.1]}},
            {"name": "adamw", "kind": "adamw", "peak_lrs": {"values": [0.001, 0.01]}},
        ],
        "schedules": [
            {"name": "none", "warmup": {"kind": "none"}, "decay": {"kind": "cosine", "floor": 0.1}},
            {"name": "linear", "warmup": {"kind": "linear", "steps": 10}, "decay": {"kind": "cosine", "floor": 0.1}},
        ],
        "seeds": {"count": num_seeds},
        "probes": [
            {"kind": "secant_smoothness", "every_steps": max(1, num_steps // 3)},
            {"kind": "sharpness", "every_steps": max(1, num_steps // 2), "relative_tolerance": 0.05},
        ],
        "probe_budget": 2.0,
        "analysis": {"compare": "schedule", "baseline": "none", "metric": "validation_loss", "tuned": ["peak_lr"]},
    }


def analytic(num_steps: int, *, name: str = "tiny") -> dict[str, Any]:
    """Two functions (so two packs), 2 rates x 2 schedules each, one probe: all but the time that a model takes."""
    start, budget = {"gap": 100.0}, {"steps": num_steps}
    functions = {"bowl": {"kind": "quadratic", "eigenvalues": [1.0]}, "wall": {"kind": "cosh"}}
    return {
        "schema_version": 1,
        "name": name,
        "workloads": [
            {"name": key, "task": "analytic", "function": function, "start": start, "budget": budget}
            for key, function in functions.items()
        ],
        "optimizers": [{"name": "gd", "kind": "sgd", "momentum": 0.0}],
        "peak_lrs": {"values": [0.001, 0.01]},
        "schedules": [
            {"name": "none", "warmup": {"kind": "none"}, "decay": {"kind": "constant"}},
            {"name": "linear", "warmup": {"kind": "linear", "steps": 10}, "decay": {"kind": "constant"}},
        ],
        "seeds": {"count": 1},
        "probes": [{"kind": "secant_smoothness", "every_steps": max(1, num_steps // 3)}],
        "probe_budget": 2.0,
        "analysis": {"baseline": "none", "metric": "train_loss"},
    }

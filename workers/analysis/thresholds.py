"""Which sharpness an optimizer's stability threshold is about, and where it lies."""

import json
import math
from collections.abc import Mapping
from typing import Any

from workers.analysis.question import Question

_ADAM = ("adam", "adamw", "gi_adam", "radam", "adamw_w2", "lamb")
PRECONDITIONED, PLAIN = "preconditioned_sharpness", "sharpness"


def product_threshold(optimizer: Mapping[str, Any]) -> float:
    """tau: on a quadratic the optimizer is unstable late in training above this lambda x lr; NaN where it has none.

    As `stability_threshold` of workers.science.optimizers. lambda is the sharpness preconditioned by the optimizer,
    which for sgd is the sharpness itself.
    """
    kind = optimizer.get("kind")
    if kind in ("sgd", "lars"):
        momentum, nesterov = optimizer.get("momentum", 0.0 if kind == "sgd" else 0.9), optimizer.get("nesterov", False)
        if not _is_number(momentum) or not isinstance(nesterov, bool):
            return math.nan
        return (2.0 + 2.0 * momentum) / (1.0 + 2.0 * momentum if nesterov else 1.0)
    betas = optimizer.get("betas", (0.9, 0.999))
    if not isinstance(betas, list | tuple) or not _is_number(betas[0]):
        return math.nan
    if kind in _ADAM:
        return float((2.0 + 2.0 * betas[0]) / (1.0 - betas[0]))
    return 2.0 / (1.0 - betas[0]) if kind == "schedule_free_adamw" else math.nan


def sharpness_probe(question: Question, workload: str, optimizer: Mapping[str, Any]) -> tuple[str, float]:
    """The name of the probe that tells most of this optimizer's stability, and tau for what it reads.

    NaN where it reads the plain sharpness, and the optimizer (or mup, by its factors on the rate) preconditions. An
    empty name: neither was measured.
    """
    by_kind: dict[str, str] = {}
    for name in question.probes:
        by_kind.setdefault(question.probe_kind(name), name)
    threshold = product_threshold(optimizer)
    if PRECONDITIONED in by_kind:
        return by_kind[PRECONDITIONED], threshold
    model = question.workloads.get(workload, {}).get("model") or {}
    is_plain = optimizer.get("kind") == "sgd" and model.get("parametrization", "standard") == "standard"
    return by_kind.get(PLAIN, ""), threshold if is_plain else math.nan


def swept(spec: Mapping[str, Any], columns: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer's spec with what a trial's columns `optimizer.FIELD` say in the place of its sweeps."""
    said = {name.removeprefix("optimizer."): value for name, value in columns.items() if name.startswith("optimizer.")}
    return {**spec, **{name: _as_stated(value) for name, value in said.items() if name in spec}}


def _as_stated(value: Any) -> Any:
    """What is no number is text in the table `trials`: JSON where it is no word."""
    try:
        return json.loads(value) if isinstance(value, str) else float(value)
    except ValueError:
        return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""What a probe and the parts of a study say against each other: no preconditioner, no outputs, no batches."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from schemas.entries import Entry
from schemas.errors import Problem
from schemas.plugins import PluginOptimizer
from schemas.probes import GaussNewton, GradientNoise, PreconditionedSharpness, Probe, SecantNoise
from schemas.problems import show
from schemas.workloads import Analytic

_NOT_OF_A_FUNCTION = {
    "gauss_newton": ("sharpness", "outputs that a loss is taken of"),
    "gradient_noise": ("another kind", "batches that could differ"),
    "secant_noise": ("secant_smoothness", "batches that could differ"),
}
"""Kind -> (what may stand in its place, what an analytic function lacks)."""


def probe_problems(probes: Sequence[Probe], axes: Mapping[str, tuple[Entry, ...]]) -> list[Problem]:
    """Probes that have nothing to measure on a workload or an optimizer of the study.

    Models and losses of the user's own are looked at once they are built (workers.inspection).
    """
    problems: dict[Problem, None] = {}
    for index, probe in enumerate(probes):
        where = f"probes[{index}].kind"
        for allowed in _without_preconditioner(axes) if isinstance(probe, PreconditionedSharpness) else ():
            problems[Problem(where, show(probe.kind), allowed)] = None
        for name in _analytic(axes) if isinstance(probe, GaussNewton | GradientNoise | SecantNoise) else ():
            other, lacks = _NOT_OF_A_FUNCTION[probe.kind]
            allowed = f"{other} with workload {name}: an analytic function has no {lacks}"
            problems[Problem(where, show(probe.kind), allowed)] = None
    return list(problems)


def _without_preconditioner(axes: Mapping[str, tuple[Entry, ...]]) -> Iterator[str]:
    for name, optimizer in _variants(axes["optimizers"]):
        if isinstance(optimizer, PluginOptimizer):
            yield f"sharpness with optimizer {name}: what an update rule of your own is preconditioned by is not known"
        elif optimizer.kind == "lion":
            yield f"sharpness with optimizer {name}: steps of a fixed length have no preconditioner"


def _analytic(axes: Mapping[str, tuple[Entry, ...]]) -> Iterator[str]:
    return (name for name, workload in _variants(axes["workloads"]) if isinstance(workload, Analytic))


def _variants(entries: tuple[Entry, ...]) -> Iterator[tuple[str, Any]]:
    return ((variant.name, variant.spec) for entry in entries for variant in entry.variants.values())

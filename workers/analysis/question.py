"""What a resolved study spec asks of its analysis."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.analysis import HIGHER_IS_BETTER
from schemas.closed_loops import CLOSED_LOOP_KINDS

_OPTIMUM = {
    "cosh": 0.0,
    "power": 0.0,
    "exponential": 0.0,
    "inverse_power": 0.0,
    "logistic": 0.0,
    "scalar_net": 0.0,
    "river_valley": 0.0,
    "quadratic_then_exponential": 0.0,
    "flat_then_exponential": 0.5,
    "two_layer_linear": 0.0,
}
"""inf f of each analytic function (design/theory.md, 1.5); a quadratic's hangs on its eigenvalues."""

_PRECONDITIONED_BY = {
    **dict.fromkeys(("adam", "adamw", "gi_adam", "radam", "schedule_free_adamw"), "second moments"),
    **dict.fromkeys(("adamw_w2", "lamb"), "second moments and its rates by layer"),
    "lars": "rates by layer",
}


@dataclass(frozen=True)
class Question:
    """The parts of a resolved spec that decide what is compared with what, and how."""

    study: str
    description: str
    baseline: str | None
    metric: str
    target: float | None
    equivalence_margin: float | None
    confidence: float
    tuned: tuple[str, ...]
    workloads: Mapping[str, Mapping[str, Any]]
    optimizers: Mapping[str, Mapping[str, Any]]
    schedules: tuple[str, ...]
    probes: Mapping[str, Mapping[str, Any]]
    probe_budget: float
    closed_loop: frozenset[str]
    """The schedules whose warmup has no length before it has run."""
    units: Mapping[str, Mapping[str, str]]
    """Optimizer -> `relative_to` of its peak learning rates, where they are stated as multiples."""
    law_optimum: Mapping[str, Any]
    """What the gap of the smoothness law is counted from: {kind: given, value}, zero, fitted; empty: not said."""

    def probe_kind(self, name: str) -> str:
        """The kind of a probe, or of a point of it (`name.point`); one that the spec does not name is its own kind."""
        probe = self.probes.get(name) or self.probes.get(name.rpartition(".")[0]) or {}
        return str(probe.get("kind") or name)

    def is_analytic(self, workload: str) -> bool:
        """Whether the workload is a function in closed form."""
        return self.workloads.get(workload, {}).get("task") == "analytic"

    def metric_of(self, workload: str) -> str:
        """The study's metric; `train_loss` for an analytic function, which has no other."""
        return "train_loss" if self.is_analytic(workload) else self.metric

    def loss_kind(self, workload: str) -> str | None:
        """The kind of the workload's loss; None where it has none, or it is swept."""
        kind = (self.workloads.get(workload, {}).get("loss") or {}).get("kind")
        return kind if isinstance(kind, str) else None

    def loss_unit(self, workload: str) -> str:
        """What follows the name of a loss on an axis: a likelihood is in nats, any other has no unit."""
        return " (nats)" if self.loss_kind(workload) == "cross_entropy" else ""

    def higher_is_better(self, workload: str) -> bool:
        """Whether more of the workload's metric is better."""
        return self.metric_of(workload) in HIGHER_IS_BETTER

    def optimum(self, workload: str) -> float | None:
        """inf f of an analytic workload; None where there is none, or it is not known."""
        function = self.workloads.get(workload, {}).get("function") or {}
        if function.get("kind") == "quadratic":
            eigenvalues = function.get("eigenvalues")
            known = isinstance(eigenvalues, list | tuple) and all(value >= 0 for value in eigenvalues)
            return 0.0 if known else None
        return _OPTIMUM.get(str(function.get("kind")))

    def seeds_matter(self, workload: str) -> bool:
        """Whether a seed changes a trial of the workload: not where a function is without noise and has a start."""
        spec = self.workloads.get(workload, {})
        function = spec.get("function") or {}
        noise = spec.get("noise") or function.get("noise")
        return not self.is_analytic(workload) or bool(noise) or function.get("kind") == "two_layer_linear"

    def has_coordinates(self, workload: str) -> bool:
        """Whether a function has more than one coordinate, or may have: of one, the gap tells the place."""
        function = self.workloads.get(workload, {}).get("function") or {}
        return function.get("kind") in ("quadratic", "scalar_net", "river_valley", "two_layer_linear")

    def stability_products(self, optimizer: str) -> tuple[float, float] | None:
        """The values of sharpness x lr beyond which sgd is unstable on a quadratic: in its first step, and later on.

        2 and 2 + 2 momentum; with nesterov 2/(1 + momentum) and (2 + 2 momentum)/(1 + 2 momentum). None for other
        kinds (`no_threshold` says why), and where what it takes is swept.
        """
        spec = self.optimizers.get(optimizer, {})
        momentum, nesterov = spec.get("momentum", 0.0), spec.get("nesterov", False)
        if spec.get("kind") != "sgd" or not isinstance(momentum, int | float) or not isinstance(nesterov, bool):
            return None
        later = 2.0 + 2.0 * momentum
        return (2.0 / (1.0 + momentum), later / (1.0 + 2.0 * momentum)) if nesterov else (2.0, later)

    def rate_unit(self, optimizer: str) -> str:
        """What the optimizer's peak learning rates are multiples of: `1/sharpness`; empty where they are rates."""
        unit = self.units.get(optimizer)
        return "" if unit is None else f"1/{unit['quantity'].replace('_', ' ')}"

    def unit_sentence(self, optimizer: str) -> str:
        """What a reader of those numbers must know; empty where they are rates."""
        unit = self.units.get(optimizer)
        if unit is None:
            return ""
        at = "each trial's own start" if unit["scope"] == "trial" else "the start of the study's first seed"
        return (
            f"Peak LRs are multiples of {self.rate_unit(optimizer)}, measured at {at}; the table trials has the rates."
        )

    def no_threshold(self, optimizer: str, *, mup: bool = False) -> str | None:
        """Why the plain sharpness has no threshold for this kind; None for sgd, which has one (arXiv 2207.14484).

        mup: the model's parametrization, whose factors on the rate precondition every optimizer.
        """
        kind = str(self.optimizers.get(optimizer, {}).get("kind"))
        if kind == "lion":
            return "steps of a fixed length have no stability threshold"
        if kind == "plugin":
            return "what its own update rule is preconditioned by is not known"
        by = [f"its {_PRECONDITIONED_BY[kind]}"] if kind in _PRECONDITIONED_BY else []
        by += ["mup's factors on the rate"] if mup else []
        if not by:
            return None
        told = f"its stability threshold concerns the Hessian preconditioned by {' and '.join(by)}"
        if any(self.probe_kind(name) == "preconditioned_sharpness" for name in self.probes):
            return told
        return f"{told}, and the plain one was measured"


def read_question(spec: Mapping[str, Any]) -> Question:
    """The question of a resolved spec, a mapping in the shape of `study.yaml`."""
    analysis = spec.get("analysis") or {}
    return Question(
        study=str(spec.get("name", "")),
        description=str(spec.get("description") or ""),
        baseline=analysis.get("baseline"),
        metric=analysis.get("metric") or "validation_loss",
        target=analysis.get("target"),
        equivalence_margin=analysis.get("equivalence_margin"),
        confidence=float(analysis.get("confidence") or 0.95),
        tuned=tuple(analysis.get("tuned") or ("peak_lr",)),
        workloads=_by_name(spec.get("workloads")),
        optimizers=_by_name(spec.get("optimizers")),
        schedules=tuple(_by_name(spec.get("schedules"))),
        probes=_by_name(spec.get("probes")),
        probe_budget=float(spec.get("probe_budget") or 0.0),
        units=_units(spec),
        closed_loop=frozenset(name for name, each in _by_name(spec.get("schedules")).items() if _is_closed(each)),
        law_optimum=analysis.get("optimum") or {},
    )


def _units(spec: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
    """One unit for each optimizer: a study that has two is refused."""
    of_schedules = [entry.get("peak_lrs") for entry in spec.get("schedules") or ()]
    found = {}
    for name, entry in _by_name(spec.get("optimizers")).items():
        shared = entry.get("peak_lrs") or spec.get("peak_lrs")
        rates = next((rates for rates in (*of_schedules, shared) if rates), None) or {}
        if rates.get("relative_to"):
            found[name] = rates["relative_to"]
    return found


def _is_closed(schedule: Mapping[str, Any]) -> bool:
    return (schedule.get("warmup") or {}).get("kind") in CLOSED_LOOP_KINDS


def _by_name(entries: Any) -> dict[str, Mapping[str, Any]]:
    return {str(entry.get("name") or entry.get("kind")): entry for entry in entries or ()}

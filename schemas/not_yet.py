"""What the contract names and this version does not build: refused by name, never silently ignored."""

from typing import Any

from schemas.analysis import Analysis
from schemas.errors import Problem
from schemas.functions import AnalyticFunction
from schemas.optimizers import Optimizer
from schemas.probes import Probe
from schemas.problems import inside, show
from schemas.schedules import Decay, Optimum, Warmup
from schemas.tags import tags
from schemas.workloads import Dataset, Loss, Model, Text, TextModel, Workload

KINDS: dict[str, tuple[str, ...]] = {
    "task": ("speech",),
    "model": (),
    "dataset": ("fsdd",),
    "loss": (),
    "function": (),
    "optimizer": (),
    "warmup": (),
    "optimum": ("fitted",),
    "decay": (),
    "probe": (),
}  # fmt: skip
"""Family -> kinds that are named in the contract and not built."""

_FIELDS = {("optimizer", "nesterov"): "sgd with nesterov: true"}
"""What others call a kind and is a field here, as in torch: (family, kind) -> how it is said."""

_PLAIN: dict[str, dict[str, Any]] = {
    "workload": {},
    "optimizer": {},
    "schedule": {"decay.cycle_momentum": False, "warmup.signal.source": ("batch_loss", "ema")},
}
"""Family -> reserved field -> the value, or values, that are built."""


def kind_problem(family: str, field: str, kind: Any) -> Problem | None:
    """The problem with a kind that is named but not built, or is a field here; None for any other."""
    if isinstance(kind, str) and (family, kind) in _FIELDS:
        return Problem(field, show(kind), _FIELDS[family, kind])
    if isinstance(kind, str) and kind in KINDS[family] and kind not in _BUILT[family]:
        return Problem(field, show(kind), f"{', '.join(_BUILT[family])} ({kind}: not yet)")
    return None


def beside(not_built: list[Problem], others: list[Problem]) -> list[Problem]:
    """Problems with what is not built, then those of `others` that are no consequence of it."""
    said = {problem.field for problem in not_built}
    # A kind that is not built has fields of its own beside it; any other field stands alone.
    parts = [problem.field.rpartition(".")[0] for problem in not_built if problem.field != "analysis.compare"]
    return not_built + [
        one
        for one in others
        if one.field not in said and not any(one.field == part or inside(one.field, part) for part in parts)
    ]


_BUILT = {
    "task": tags(Workload, "task"),
    "model": tuple(dict.fromkeys(tags(Model) + tags(TextModel))),
    "dataset": tuple(dict.fromkeys(tags(Dataset) + tags(Text))),
    "loss": tags(Loss),
    "function": tags(AnalyticFunction),
    "optimizer": tags(Optimizer),
    "warmup": tags(Warmup),
    "optimum": tags(Optimum),
    "decay": tags(Decay),
    "probe": tags(Probe),
}


def built_kinds() -> dict[str, tuple[str, ...]]:
    """Family -> the kinds that a study may name."""
    return dict(_BUILT)


def value_problems(family: str, spec: Any, where: str) -> list[Problem]:
    """The reserved fields of a validated component that say more than their plain default."""
    problems = []
    for path, built in _PLAIN[family].items():
        value = _get(spec, path.split("."))
        allowed = built if isinstance(built, tuple) else (built,)
        if value is not _ABSENT and value not in allowed:
            said = " or ".join(show(item).strip("'") for item in allowed)
            problems.append(Problem(f"{where}.{path}", show(value), f"{said} (other values: not yet)"))
    return problems


def analysis_problems(analysis: Analysis) -> list[Problem]:
    """Choices of the analysis that are not built."""
    if set(analysis.tuned) <= {"peak_lr"}:
        return []
    return [Problem("analysis.tuned", show(list(analysis.tuned)), "[peak_lr] or [] (other values: not yet)")]


def comparison_problem(raw: Any) -> Problem | None:
    """What else than schedules could be compared is not built."""
    compare = raw.get("compare", "schedule") if isinstance(raw, dict) else "schedule"
    if not isinstance(compare, str) or compare == "schedule":
        return None
    return Problem("analysis.compare", show(compare), "schedule (other values: not yet)")


def learning_rate_problem(raw: Any, where: str) -> Problem | None:
    """`search` is named in the contract and not built."""
    if isinstance(raw, dict) and "search" in raw:
        return Problem(f"{where}.search", show(raw["search"]), "values or grid (search: not yet)")
    return None


class _Absent:
    pass


_ABSENT = _Absent()


def _get(spec: Any, path: list[str]) -> Any:
    for part in path:
        spec = getattr(spec, part, _ABSENT)
        if spec is _ABSENT:
            return _ABSENT
    return spec

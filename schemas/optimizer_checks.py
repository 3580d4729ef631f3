"""What an optimizer and a workload say against each other: rules for matrices without any, mup, two averages."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from schemas.entries import Entry
from schemas.errors import Problem
from schemas.plugins import PluginOptimizer
from schemas.problems import show
from schemas.workloads import Analytic, Classification, LanguageModel, Workload

NO_MUP = ("lars", "lamb")
"""Their steps are as long as |w|, whatever the gradient's rank: mup has no factors for them."""


def optimizer_problems(
    axes: Mapping[str, tuple[Entry, ...]], pairs: Collection[tuple[int, int]] | None = None
) -> list[Problem]:
    """Optimizers that cannot train a workload they belong to.

    Args:
        pairs: identities of (workload, optimizer) that meet in a trial; None: all of them do.
    """
    problems: dict[Problem, None] = {}
    workloads = [
        variant for entry in axes["workloads"] for variant in entry.variants.values() if _is_special(variant.spec)
    ]
    for entry in axes["optimizers"]:
        for optimizer in (variant.spec for variant in entry.variants.values()):
            for workload in workloads:
                if pairs is None or (id(workload.spec), id(optimizer)) in pairs:
                    problems |= dict.fromkeys(_problems(optimizer, workload.spec, workload.name, entry.where))
    return list(problems)


def _is_special(workload: Workload) -> bool:
    return isinstance(workload, Analytic) or _is_mup(workload) or workload.average.kind != "none"


def _is_mup(workload: Classification | LanguageModel) -> bool:
    return getattr(workload.model, "parametrization", "standard") == "mup"


def _problems(optimizer: Any, workload: Workload, name: str, where: str) -> Iterator[Problem]:
    if isinstance(optimizer, PluginOptimizer):
        if isinstance(workload, Analytic) or _is_mup(workload):
            why = "which is analytic" if isinstance(workload, Analytic) else "whose parametrization is mup"
            yield Problem(f"{where}.kind", show(optimizer.kind), f"a kind of ours with workload {name}, {why}")
        return
    if isinstance(workload, Analytic):
        yield from _problems_on_a_vector(optimizer, name, where)
        return
    other = f"another kind with workload {name}, "
    if optimizer.kind in NO_MUP and _is_mup(workload):
        yield Problem(f"{where}.kind", show(optimizer.kind), f"{other}whose parametrization is mup")
    if optimizer.kind == "schedule_free_adamw" and workload.average.kind != "none":
        yield Problem(f"{where}.kind", show(optimizer.kind), f"{other}whose average is {workload.average.kind}")


def _problems_on_a_vector(optimizer: Any, name: str, where: str) -> Iterator[Problem]:
    vector = f"the parameters of workload {name} are one vector"
    if optimizer.kind == "adamw_w2":
        yield Problem(f"{where}.kind", show(optimizer.kind), f"a kind that needs no matrices: {vector}")
    if getattr(optimizer, "adapt_on", "all") == "matrices":
        yield Problem(f"{where}.adapt_on", "matrices", f"all: {vector}")
    if optimizer.decay_on == "matrices" and optimizer.weight_decay > 0:
        yield Problem(f"{where}.decay_on", "matrices", f"all, or no weight_decay: {vector}")

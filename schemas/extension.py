"""What a wider study says otherwise than the one that it extends, field by field."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from schemas.errors import Problem
from schemas.expansion import AXES
from schemas.problems import join_field, show
from schemas.study import Study, probe_name
from schemas.workloads import Analytic

NOT_COMPARED = ("name", "peak_lrs", "evaluation")
"""Of a component: what it is called, an axis of its own, and what belongs to what is measured."""
_ABSENT = object()


def component_problems(old: Study, new: Study, names: Mapping[str, Collection[str]]) -> list[Problem]:
    """Fields of same-named workloads, optimizers and schedules that differ.

    Args:
        names: axis -> the names to look at; those that one of the studies lacks are passed over.
    """
    problems: dict[Problem, None] = {}
    for axis in AXES:
        for where, mine, its in _same_named(old, new, axis, names.get(axis, ())):
            said, says = (
                {key: value for key, value in spec.model_dump().items() if key not in NOT_COMPARED}
                for spec in (mine, its)
            )
            problems |= dict.fromkeys(_differences(where, said, says))
    return list(problems)


def measurement_problems(old: Study, new: Study, workloads: Collection[str]) -> list[Problem]:
    """Probes, their budget, and the evaluation of these workloads, where they differ.

    What the finished trials have not measured cannot be measured on them any more.
    """
    problems = dict.fromkeys(_probe_problems(old, new))
    had, has = old.fields.probe_budget, new.fields.probe_budget
    if had != has and old.fields.probes:
        problems[Problem("probe_budget", show(has), _as_it_has(had))] = None
    for where, mine, its in _same_named(old, new, "workloads", workloads):
        if not (isinstance(mine, Analytic) or isinstance(its, Analytic)):
            said, says = mine.evaluation.model_dump(), its.evaluation.model_dump()
            problems |= dict.fromkeys(_differences(f"{where}.evaluation", said, says))
    return list(problems)


def _probe_problems(old: Study, new: Study) -> Iterator[Problem]:
    had = {probe_name(probe): probe for probe in old.fields.probes}
    has = {probe_name(probe): (index, probe) for index, probe in enumerate(new.fields.probes)}
    if gone := [name for name in had if name not in has]:
        allowed = f"also {', '.join(map(show, gone))}: the probes of the study"
        yield Problem("probes", ", ".join(map(show, has)) or "none", allowed)
    for name, (index, probe) in has.items():
        where = f"probes[{index}]"
        if name not in had:
            yield Problem(where, show(name), "the probes of the study: its trials have not been measured so")
        else:
            yield from _differences(where, *(one.model_dump(exclude={"name"}) for one in (had[name], probe)))


def _same_named(old: Study, new: Study, axis: str, names: Collection[str]) -> Iterator[tuple[str, Any, Any]]:
    had = {variant.name: variant.spec for variant in old.variants(axis)}
    for entry in new.axes[axis]:
        for variant in entry.variants.values():
            if variant.name in names and variant.name in had:
                yield entry.where, had[variant.name], variant.spec


def _differences(where: str, said: Any, says: Any) -> Iterator[Problem]:
    if isinstance(said, dict) and isinstance(says, dict):
        for key in dict.fromkeys([*says, *said]):
            yield from _differences(join_field(where, key), said.get(key, _ABSENT), says.get(key, _ABSENT))
    elif said != says:
        yield Problem(where, "nothing" if says is _ABSENT else show(says), _as_it_has(said))


def _as_it_has(value: Any) -> str:
    return f"{'nothing' if value is _ABSENT else show(value)}, as the study has it"

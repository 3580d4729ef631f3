"""Which studies may state multiples of 1/sharpness: one unit for what is compared, and a start that has one."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from schemas.entries import Entry
from schemas.errors import Problem
from schemas.functions import Quadratic
from schemas.learning_rates import PeakLRs
from schemas.plugins import PluginLoss, PluginModel
from schemas.problems import show
from schemas.workloads import Analytic, Workload

WITHOUT_PRECONDITIONER = {
    "lion": "its steps have a fixed length",
    "adamw_w2": "what bounds its steps hangs on the rate itself",
    "plugin": "that of a rule of your own is not known",
}
"""Optimizers of which no preconditioned sharpness can be a unit of their rate, and why."""

Axes = Mapping[str, tuple[Entry, ...]]
Met = Collection[tuple[int, int, int]] | None


def relative_problems(of_study: PeakLRs | None, axes: Axes, met: Met = None) -> list[Problem]:
    """What is wrong with the multiples of a study.

    Args:
        met: identities of (workload, optimizer, schedule) that meet in a trial; None: all of them do.
    """
    problems: dict[Problem, None] = {}
    for entry in axes["optimizers"]:
        stated = list(_stated(of_study, entry, axes["schedules"]))
        problems |= dict.fromkeys(_unit_problems(entry, stated))
        for rates, where, schedules in stated:
            if rates.relative_to is not None:
                problems |= dict.fromkeys(_optimizer_problems(entry, schedules, rates, where, met))
                problems |= dict.fromkeys(_workload_problems(entry, schedules, rates, axes["workloads"], where, met))
    return list(problems)


Stated = tuple[PeakLRs, str, list[Entry]]
"""Rates, where they stand, and the schedules that have them beside one optimizer."""


def _stated(of_study: PeakLRs | None, optimizer: Entry, schedules: tuple[Entry, ...]) -> Iterator[Stated]:
    shared = [entry for entry in schedules if entry.peak_lrs is None]
    rates, where = (optimizer.peak_lrs, f"{optimizer.where}.peak_lrs") if optimizer.peak_lrs else (of_study, "peak_lrs")
    if shared and rates is not None:
        yield rates, where, shared
    for entry in schedules:
        if entry.peak_lrs is not None:
            yield entry.peak_lrs, f"{entry.where}.peak_lrs", [entry]


def _unit_problems(optimizer: Entry, stated: list[Stated]) -> Iterator[Problem]:
    """Rates of one optimizer are drawn along one axis and chosen among: they must have one unit."""
    if not stated:
        return
    first, first_where, _ = stated[0]
    for rates, where, _ in stated[1:]:
        if rates.relative_to != first.relative_to:
            got = "nothing" if rates.relative_to is None else show(rates.relative_to)
            as_there = "nothing" if first.relative_to is None else show(first.relative_to)
            allowed = f"{as_there}, as at {first_where}: the rates of {optimizer.name or optimizer.where} are compared"
            yield Problem(f"{where}.relative_to", got, allowed)


def _optimizer_problems(
    optimizer: Entry, schedules: list[Entry], rates: PeakLRs, where: str, met: Met
) -> Iterator[Problem]:
    assert rates.relative_to is not None
    if rates.relative_to.quantity != "preconditioned_sharpness":
        return
    beside = {id(variant.spec) for entry in schedules for variant in entry.variants.values()}
    for variant in optimizer.variants.values():
        kind = variant.spec.kind
        if kind in WITHOUT_PRECONDITIONER and _meet(met, {1: id(variant.spec)}, beside):
            allowed = f"sharpness beside optimizer {variant.name}: {WITHOUT_PRECONDITIONER[kind]}"
            yield Problem(f"{where}.relative_to.quantity", rates.relative_to.quantity, allowed)


def _workload_problems(
    optimizer: Entry, schedules: list[Entry], rates: PeakLRs, workloads: tuple[Entry, ...], where: str, met: Met
) -> Iterator[Problem]:
    assert rates.relative_to is not None
    beside = {id(variant.spec) for entry in schedules for variant in entry.variants.values()}
    for entry in workloads:
        for variant in entry.variants.values():
            here = [id(one.spec) for one in optimizer.variants.values()]
            if not any(_meet(met, {0: id(variant.spec), 1: each}, beside) for each in here):
                continue
            if _never_curves_up(variant.spec):
                got = show(list(variant.spec.function.eigenvalues))
                allowed = f"one above 0: {where} are multiples of 1/sharpness"
                yield Problem(f"{entry.where}.function.eigenvalues", got, allowed)
            if rates.relative_to.scope == "study" and _is_own(variant.spec):
                allowed = f"trial with workload {variant.name}, whose model or loss is your own"
                yield Problem(f"{where}.relative_to.scope", "study", allowed)


def _meet(met: Met, chosen: Mapping[int, int], schedules: Collection[int]) -> bool:
    if met is None:
        return True
    return any(all(one[at] == each for at, each in chosen.items()) and one[2] in schedules for one in met)


def _never_curves_up(workload: Workload) -> bool:
    is_quadratic = isinstance(workload, Analytic) and isinstance(workload.function, Quadratic)
    return is_quadratic and max(workload.function.eigenvalues) <= 0  # type: ignore[union-attr]


def _is_own(workload: Any) -> bool:
    # its frozen parts come from the stream of its own seed, and the start of another seed would meet them
    return isinstance(getattr(workload, "model", None), PluginModel) or isinstance(
        getattr(workload, "loss", None), PluginLoss
    )

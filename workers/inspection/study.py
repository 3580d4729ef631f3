"""Everything that is wrong with a study's own parts here, or everything that planning must know of them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from schemas.catalog import DatasetFacts
from schemas.entries import Entry, Variant
from schemas.errors import DataMissing, Problem, SpecError, WarmupBenchError
from schemas.own_parts import OwnParts, WorkloadFacts, part_problems, places_of_parts, workload_key
from schemas.plugins import (
    CALLED,
    Group,
    PluginDataset,
    PluginFacts,
    PluginOptimizer,
    dataset_key,
    own_parts,
)
from schemas.problems import show
from schemas.study import Study
from schemas.trials import steps_of
from schemas.warmups import PluginWarmup
from schemas.workloads import Analytic, Classification, LanguageModel
from workers.data import examples_of
from workers.data import load as load_data
from workers.plugins import PluginFailed, load, parameters_of, told
from workers.schedules import factors
from workers.science.datasets import DataArrays
from workers.science.own.examining import EXAMPLES, check_batch, examine, examine_optimizer


def part_facts(group: Group, name: str) -> PluginFacts:
    """What is known of an installed or named part, once imported.

    Raises:
        PluginMissing. PluginFailed: it cannot be imported or called as its group is.
    """
    loaded = load(group, name)
    try:
        parameters, takes_any, defaults = parameters_of(group, loaded.call)
    except ValueError as error:
        raise PluginFailed(f"{CALLED[group]} {name}: got another signature, allowed {error}") from error
    return PluginFacts(source=loaded.source, parameters=parameters, takes_any=takes_any, defaults=defaults)


def inspect_study(study: Study, data_dir: Path) -> OwnParts:
    """What is found out about the study's own parts.

    Raises:
        SpecError: everything that is wrong with them, by field.
    """
    inspection = _Inspection(study, data_dir)
    for look in (inspection.find, inspection.load_data, inspection.build):
        look()
        if inspection.problems:
            raise SpecError(list(inspection.problems))
    return OwnParts(list(inspection.facts.values()), list(inspection.datasets.values()), inspection.workloads)


@dataclass
class _Inspection:
    study: Study
    data_dir: Path
    problems: dict[Problem, None] = field(default_factory=dict)
    facts: dict[tuple[str, str], PluginFacts] = field(default_factory=dict)
    datasets: dict[str, DatasetFacts] = field(default_factory=dict)
    workloads: dict[str, WorkloadFacts] = field(default_factory=dict)
    arrays: dict[str, Any] = field(default_factory=dict)
    batches: set[tuple[str, object]] = field(default_factory=set)
    """workload_key and batch size of what was tried at that size."""

    def find(self) -> None:
        """Import the parts; compare their code with what the study states, and options with signatures."""
        failed: set[tuple[str, str]] = set()
        for where, part in places_of_parts(self.study):
            key = (part.GROUP, part.name)
            if key not in self.facts and key not in failed:
                try:
                    self.facts[key] = part_facts(*key)
                except WarmupBenchError as error:
                    failed.add(key)
                    self._refuse(f"{where}.name", show(part.name), f"a part that works here: {error}")
        self.problems |= dict.fromkeys(part_problems(self.study, self.facts))

    def load_data(self) -> None:
        """The data sets that workloads with own parts train on."""
        for entry, variant in self._variants():
            if isinstance(variant.spec, Classification | LanguageModel):
                dataset = variant.spec.dataset
                if dataset_key(dataset) in self.arrays:
                    continue
                with self._refusing(f"{entry.where}.dataset", show(dataset_key(dataset)), "a data set"):
                    arrays = self.arrays[dataset_key(dataset)] = load_data(dataset, self.data_dir)
                    if isinstance(dataset, PluginDataset):
                        self.datasets[dataset_key(dataset)] = arrays.facts(dataset_key(dataset))

    def build(self) -> None:
        """Workloads, optimizers and schedules, each once."""
        needs_hvp = any(probe.takes_hvps for probe in self.study.fields.probes) or bool(self._units())
        for entry, variant in self._variants("workloads"):
            if isinstance(variant.spec, Classification | LanguageModel) and any(own_parts(variant.spec)):
                self._examine(entry, variant.spec, needs_hvp=needs_hvp)
        if self.problems:
            return
        for entry, variant in self._variants("optimizers"):
            if isinstance(variant.spec, PluginOptimizer):
                self._examine_optimizer(entry, variant.spec)
        for entry, variant in self._variants("schedules"):
            if isinstance(variant.spec.warmup, PluginWarmup):
                self._ask_schedule(entry, variant.spec)

    def _examine(self, entry: Entry, workload: Classification | LanguageModel, *, needs_hvp: bool) -> None:
        key = workload_key(workload)
        if key not in self.workloads:
            self._examine_parts(entry, workload, key, needs_hvp=needs_hvp)
        if key in self.workloads and (key, workload.batch_size) not in self.batches:
            self.batches.add((key, workload.batch_size))
            said = f"a batch that its parts can read, which they can with {EXAMPLES} examples"
            with self._refusing(f"{entry.where}.batch_size", str(workload.batch_size), said):
                check_batch(workload, self._arrays(workload))

    def _examine_parts(
        self, entry: Entry, workload: Classification | LanguageModel, key: str, *, needs_hvp: bool
    ) -> None:
        with self._refusing(entry.where, show(workload.model.kind), "parts that train"):
            facts = self.workloads[key] = examine(workload, self._arrays(workload), needs_hvp=needs_hvp)
            if not facts.no_hvp:
                return
            for index, probe in enumerate(self.study.fields.probes):
                if probe.takes_hvps:
                    allowed = f"secant_smoothness with workload {entry.name}: {facts.no_hvp}"
                    self._refuse(f"probes[{index}].kind", show(probe.kind), allowed)
            for where, quantity in self._units():
                allowed = f"nothing, rates as they are, with workload {entry.name}: {facts.no_hvp}"
                self._refuse(where, quantity, allowed)

    def _units(self) -> list[tuple[str, str]]:
        """Where rates are multiples of 1/sharpness, which takes Hessian-vector products, and of which."""
        stated = [("peak_lrs", self.study.fields.peak_lrs)]
        for axis in ("optimizers", "schedules"):
            stated += [(f"{entry.where}.peak_lrs", entry.peak_lrs) for entry in self.study.axes[axis]]
        return [
            (f"{where}.relative_to", rates.relative_to.quantity)
            for where, rates in stated
            if rates is not None and rates.relative_to is not None
        ]

    def _examine_optimizer(self, entry: Entry, optimizer: PluginOptimizer) -> None:
        for _, variant in self._variants("workloads"):
            if isinstance(variant.spec, Analytic):
                continue  # refused by the spec alone
            before = len(self.problems)
            with self._refusing(f"{entry.where}.name", show(optimizer.name), "an optimizer that can be used"):
                examine_optimizer(optimizer, variant.spec, self._arrays(variant.spec))
            if len(self.problems) > before:
                return

    def _ask_schedule(self, entry: Entry, schedule: Any) -> None:
        for _, variant in self._variants("workloads"):
            workload = variant.spec
            num_train = 0 if isinstance(workload, Analytic) else len(self._arrays(workload).train_y)
            steps = steps_of(workload, num_train)
            name = schedule.warmup.name
            with self._refusing(f"{entry.where}.warmup.name", show(name), "a schedule"), suppress(ValueError):
                # A ValueError is of what the spec alone tells, which is refused without us.
                if not np.array_equal(factors(schedule, steps), factors(schedule, steps)):
                    raise PluginFailed(
                        f"schedule {name}: it gave other factors when it was asked again, allowed a function of its"
                        " arguments alone: a run that is resumed asks again"
                    )

    def _arrays(self, workload: Classification | LanguageModel) -> DataArrays:
        arrays = self.arrays[dataset_key(workload.dataset)]
        if isinstance(workload, LanguageModel):
            return DataArrays(**examples_of(workload, arrays), num_classes=arrays.num_classes, sha256=arrays.sha256)
        return DataArrays(**{one.name: getattr(arrays, one.name) for one in fields(DataArrays)})

    def _variants(self, *axes: str) -> Iterator[tuple[Entry, Variant]]:
        for axis in axes or tuple(self.study.axes):
            for entry in self.study.axes[axis]:
                for variant in entry.variants.values():
                    yield entry, variant

    @contextmanager
    def _refusing(self, field_: str, got: str, allowed: str) -> Iterator[None]:
        """Whatever is raised inside is a problem of this field: of code of the user's own everything may come."""
        try:
            yield
        except (WarmupBenchError, DataMissing) as error:
            self._refuse(field_, got, f"{allowed}: {error}")
        except Exception as error:
            self._refuse(field_, got, f"{allowed}: {told(error)[:400]}")

    def _refuse(self, field_: str, got: str, allowed: str) -> None:
        self.problems[Problem(field_, got, allowed)] = None


def manifest(parts: list[tuple[Group, str]]) -> tuple[OwnParts, list[str]]:
    """What a service may accept: facts of these installed parts, of data sets with their default options, too.

    Returns them, and what is wrong with the others.
    """
    plugins: list[PluginFacts] = []
    datasets: list[DatasetFacts] = []
    wrong: list[str] = []
    for group, name in parts:
        try:
            facts = part_facts(group, name)
            if group == "datasets" and not any(one.is_required for one in facts.parameters):
                dataset = PluginDataset(kind="plugin", name=name)
                datasets.append(load_data(dataset, None).facts(dataset_key(dataset)))
            plugins.append(facts)
        except WarmupBenchError as error:
            wrong.append(str(error))
    return OwnParts(plugins, datasets), wrong

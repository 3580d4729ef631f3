"""What `plan` answers, in one object: for the command line and for the API alike."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from schemas.catalog import DatasetFacts, dataset_facts
from schemas.study import Study
from schemas.trials import total_steps
from service.requests import accept
from workers.cards import cards
from workers.cores import num_cores
from workers.ledger.ledger import Ledger
from workers.places import Places
from workers.planning import Estimate, estimate, measurement_plans, plan_packs
from workers.planning.packs import PackPlan


@dataclass(frozen=True)
class PlannedStudy:
    """A study with its cost on this device class."""

    study: Study
    estimate: Estimate
    device_class: str
    workers: int
    warmup_steps: Mapping[str, str]
    """Schedule -> its warmup in steps, per workload."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "name": self.study.name,
            "spec_hash": self.study.spec_hash,
            "device_class": self.device_class,
            "workers": self.workers,
            **asdict(self.estimate),
            "warmup_steps": dict(self.warmup_steps),
            "spec": dict(self.study.resolved),
        }


def plan_study(document: Any, places: Places, workers: int | None = None) -> PlannedStudy:
    """Plan a document without running it. Writes nothing.

    Raises:
        SpecError: the document is refused, or asks for a device that is not here. DataMissing.
    """
    request = accept(document, places)
    study, trials, datasets = request.study, request.trials, request.datasets
    device_class = device_class_here(study.fields.execution.device)
    packs = plan_packs(trials, datasets, device_class=device_class)
    plans = measurement_plans(trials, study.fields, datasets)
    count = workers or (num_cores() if device_class == "cpu" else len(cards()))
    cost = estimate(
        trials,
        packs,
        plans,
        study.fields,
        datasets,
        workers=count,
        pack_seconds_per_step=_past(places, device_class, packs),
    )
    return PlannedStudy(study, cost, device_class, count, _warmup_steps(study, datasets))


def device_class_here(asked: str) -> str:
    """The device class that a study would get on this machine, told without torch."""
    found = cards()
    return found[0] if found and asked != "cpu" else "cpu"


def _past(places: Places, device_class: str, packs: list[PackPlan]) -> dict[str, list[float]]:
    """Group key -> seconds per step of each pack of this size that ran here before."""
    sizes = {pack.group_key: pack.size for pack in packs}
    if not Path(places.ledger).exists():
        return {key: [] for key in sizes}
    with Ledger.open(places.home) as ledger:
        return {
            key: [
                row.seconds / row.steps for row in ledger.timings(device_class, key) if row.size == size and row.steps
            ]
            for key, size in sizes.items()
        }


def _warmup_steps(study: Study, datasets: Mapping[str, DatasetFacts]) -> dict[str, str]:
    said = {}
    for variant in study.variants("schedules"):
        lengths = []
        for workload in study.variants("workloads"):
            steps = total_steps(workload.spec, dataset_facts(workload.spec, datasets))
            length = variant.spec.warmup_steps(steps)
            lengths.append("closed loop" if length is None else f"{length} of {steps} steps")
        said[variant.name] = ", ".join(dict.fromkeys(lengths))
    return said

"""Takes a document or refuses it, with everything that is wrong with it here and now. Writes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.catalog import DatasetFacts
from schemas.errors import Problem, SpecError
from schemas.study import Study, parse_study
from schemas.trials import TrialSpec
from schemas.workloads import Analytic
from workers.cards import cards
from workers.cores import num_cores
from workers.data import facts_of
from workers.places import Places
from workers.planning import expand_trials

MIN_MOST_WORKERS = 16
WORKERS_PER_CORE = 4


@dataclass(frozen=True)
class Request:
    """A study that is accepted, and nothing written yet."""

    study: Study
    trials: list[TrialSpec]
    datasets: Mapping[str, DatasetFacts]


def accept(document: Any, places: Places) -> Request:
    """Validate and expand a document. Writes nothing.

    Raises:
        SpecError: the document is refused, or asks for a device that is not here. DataMissing.
    """
    study = parse_study(document)
    if study.fields.execution.device == "cuda" and not cards():
        raise SpecError([Problem("execution.device", "cuda", "cpu or auto: there is no CUDA device here")])
    specs = [variant.spec for variant in study.variants("workloads") if not isinstance(variant.spec, Analytic)]
    datasets = {kind: facts_of(spec, places.data) for kind, spec in {s.dataset.kind: s.dataset for s in specs}.items()}
    return Request(study, expand_trials(study, datasets), datasets)


def check_workers(workers: int | None) -> None:
    """Refuse a number of trainers that this machine could not feed. None leaves the number to us.

    Raises:
        SpecError: fewer than 1, or more than 4 per core (16 on a small machine).
    """
    most = max(MIN_MOST_WORKERS, WORKERS_PER_CORE * num_cores())
    if workers is not None and not 1 <= workers <= most:
        why = f"each is a process of its own with torch loaded, and {num_cores()} cores are here"
        raise SpecError([Problem("--workers", str(workers), f"1 to {most}: {why}")])

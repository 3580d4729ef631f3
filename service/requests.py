"""Takes a document or refuses it, with everything that is wrong with it here and now. Writes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.catalog import DatasetFacts
from schemas.errors import DataMissing, Problem, SpecError
from schemas.own_parts import NO_PARTS, OwnParts
from schemas.plugins import PluginDataset
from schemas.study import Study, parse_study
from schemas.trials import TrialSpec
from schemas.workloads import Analytic
from workers.cards import cards
from workers.cores import num_cores
from workers.data import check_known, facts_of
from workers.inspecting import inspect_parts
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
    own: OwnParts = NO_PARTS
    """What was found out about the user's own parts; nothing where nobody has looked."""

    def unstacked(self) -> dict[str, str]:
        """Workload and optimizer -> why their trials train alone."""
        pairs = {trial.names[:2]: (trial.workload, trial.optimizer) for trial in self.trials}
        found = {names: self.own.why_unstacked(*pair) for names, pair in pairs.items()}
        return {" x ".join(names): why for names, why in found.items() if why}


def accept(document: Any, places: Places) -> Request:
    """Validate and expand a document. Writes nothing.

    Raises:
        SpecError: the document is refused, or asks for a device that is not here. DataMissing.
    """
    study = parse_study(document)
    if study.fields.execution.device == "cuda" and not cards():
        raise SpecError([Problem("execution.device", "cuda", "cpu or auto: there is no CUDA device here")])
    own = inspect_parts(study, places)
    specs = [variant.spec for variant in study.variants("workloads") if not isinstance(variant.spec, Analytic)]
    named = {spec.dataset.kind: spec.dataset for spec in specs if not isinstance(spec.dataset, PluginDataset)}
    datasets = _facts(named, places.data)
    datasets |= {facts.kind: facts for facts in own.datasets}
    study = study.pinned(own.sources()) if own.plugins else study
    return Request(study, expand_trials(study, datasets, own=own), datasets, own)


def _facts(named: Mapping[str, Any], data_dir: Path) -> dict[str, DatasetFacts]:
    """Kind -> facts of the sets, each there and the one of its name.

    Raises:
        DataMissing: some are not; the message says it of all of them.
    """
    found, wrong = {}, []
    for kind, dataset in named.items():
        try:
            found[kind] = facts_of(dataset, data_dir)
            check_known(kind, data_dir)
        except DataMissing as error:
            wrong.append(str(error))
    if wrong:
        raise DataMissing("\n".join(wrong))
    return found


def check_workers(workers: int | None) -> None:
    """Refuse a number of trainers that this machine could not feed. None leaves the number to us.

    Raises:
        SpecError: fewer than 1, or more than 4 per core (16 on a small machine).
    """
    most = max(MIN_MOST_WORKERS, WORKERS_PER_CORE * num_cores())
    if workers is not None and not 1 <= workers <= most:
        why = f"each is a process of its own with torch loaded, and {num_cores()} cores are here"
        raise SpecError([Problem("--workers", str(workers), f"1 to {most}: {why}")])

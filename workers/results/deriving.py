"""From a pilot in the ledger to the document of its follow-up."""

from pathlib import Path
from typing import Any

from schemas.catalog import DatasetFacts, dataset_facts
from schemas.errors import Problem, SpecError
from schemas.study import parse_study
from schemas.trials import TrialState, total_steps
from workers.analysis.deriving import read_pilot
from workers.analysis.follow_up import follow_up
from workers.ledger.ledger import Ledger
from workers.places import Places
from workers.results.write import write_tables


def derive_study(
    ledger: Ledger,
    words: str,
    places: Places,
    folder: Path,
    *,
    workload: str | None = None,
    optimizer: str | None = None,
    even_so: bool = False,
) -> dict[str, Any]:
    """The follow-up of the study that `words` name. `folder`: an empty one, for its tables.

    Raises:
        SpecError: it is not finished, or see `workers.analysis.follow_up.follow_up`. StudyNotFound. PlaceError.
    """
    row = ledger.find_study(words)
    if row.state is not TrialState.DONE:
        allowed = "done: a law is fitted to a whole pilot; run the same file again and it goes on"
        raise SpecError([Problem("STUDY", f"{row.name}, {row.state}", allowed)])
    study = parse_study(row.spec)
    write_tables(ledger, row.id, places, folder)
    known = {each.kind: DatasetFacts.model_validate(each.facts) for each in ledger.datasets()}
    steps = {
        variant.name: total_steps(variant.spec, dataset_facts(variant.spec, known))
        for variant in study.variants("workloads")
    }
    return follow_up(
        read_pilot(folder, row.spec),
        study,
        row.id,
        total_steps=steps,
        workload=workload,
        optimizer=optimizer,
        even_so=even_so,
    )

"""Puts a study into the ledger: its data published, its trials expanded, all in one transaction."""

from pathlib import Path

from schemas.study import Study
from schemas.trials import TrialSpec
from workers.data import scan
from workers.ledger.inputs import NewTrial
from workers.ledger.ledger import Ledger
from workers.ledger.rows import StudyRow


def publish_data(ledger: Ledger, data_dir: Path) -> None:
    """Bring the catalog up to what lies in the data directory (and what comes with installed packages)."""
    for facts in scan(data_dir):
        known = ledger.dataset(facts.kind)
        if known is None or known.sha256 != facts.sha256 or known.facts != facts.model_dump(mode="json"):
            ledger.publish_dataset(facts.kind, facts.sha256, facts.model_dump(mode="json"))


def create_study(ledger: Ledger, study: Study, trials: list[TrialSpec]) -> StudyRow:
    """A new study with its expanded trials, queued."""
    measured = {id(trial.workload): study.measurement_id(trial.workload) for trial in trials}
    return ledger.create_study(
        name=study.name,
        spec=dict(study.resolved),
        spec_hash=study.spec_hash,
        trials=(_new_trial(trial, index, measured[id(trial.workload)]) for index, trial in enumerate(trials)),
        total=len(trials),
    )


def _new_trial(trial: TrialSpec, index: int, measurement_id: str) -> NewTrial:
    workload, optimizer, schedule = trial.names
    return NewTrial(
        trial_id=trial.trial_id,
        cell_id=trial.cell_id,
        round=0,
        workload=workload,
        optimizer=optimizer,
        schedule=schedule,
        peak_lr=trial.peak_lr,
        seed=trial.seed.model_dump(),
        swept=dict(trial.swept),
        measurement_id=measurement_id,
        num_index=index,
    )

"""Puts a study into the ledger: its data published, its trials expanded, all in one transaction."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from schemas.catalog import DatasetFacts, dataset_facts
from schemas.errors import DataMissing
from schemas.own_parts import OwnParts
from schemas.plugins import PluginFacts
from schemas.study import Study
from schemas.trials import TrialSpec, total_steps
from workers.data import check_known, scan
from workers.ledger.inputs import Idempotency, NewTrial, Quota
from workers.ledger.ledger import Ledger
from workers.ledger.rows import StudyRow


def publish_data(ledger: Ledger, data_dir: Path, own: Iterable[DatasetFacts] = ()) -> None:
    """Bring the catalog up to what lies in the data directory (and what comes with installed packages), but for what
    lies under a set's name and is not it.

    Args:
        own: of the user's own data sets, what was found out about them.
    """
    for facts in (*_known(scan(data_dir), data_dir), *own):
        known = ledger.dataset(facts.kind)
        if known is None or known.sha256 != facts.sha256 or known.facts != facts.model_dump(mode="json"):
            ledger.publish_dataset(facts.kind, facts.sha256, facts.model_dump(mode="json"))


def _known(found: Iterable[DatasetFacts], data_dir: Path) -> Iterator[DatasetFacts]:
    for facts in found:
        try:
            check_known(facts.kind, data_dir)
        except DataMissing:
            continue
        yield facts


def publish_plugins(ledger: Ledger, own: OwnParts) -> None:
    """Say which installed parts the studies of a service may name: these alone. Publish the data sets among them."""
    ledger.set_plugin_manifest(json.dumps([facts.model_dump(mode="json") for facts in own.plugins], sort_keys=True))
    for facts in own.datasets:
        ledger.publish_dataset(facts.kind, facts.sha256, facts.model_dump(mode="json"))


def published_plugins(ledger: Ledger) -> dict[tuple[str, str], PluginFacts]:
    """(group, name) -> what is known of each part that a service accepts."""
    found = [PluginFacts.model_validate(row) for row in json.loads(ledger.plugin_manifest() or "[]")]
    return {facts.source.key: facts for facts in found}


def published_datasets(ledger: Ledger) -> dict[str, DatasetFacts]:
    """Kind of each data set that workers have published -> its facts."""
    return {row.kind: DatasetFacts.model_validate(row.facts) for row in ledger.datasets()}


def create_study(
    ledger: Ledger,
    study: Study,
    trials: list[TrialSpec],
    *,
    owner: str = "local",
    key_id: str = "",
    priority: int = 0,
    idempotency: Idempotency | None = None,
    quota: Quota | None = None,
) -> StudyRow:
    """A new study with its expanded trials, queued; or the one that the owner made before with this idempotency key.

    Raises:
        IdempotencyConflict, QuotaExceeded, DataMissing.
    """
    facts = published_datasets(ledger)
    workloads = {id(trial.workload): trial.workload for trial in trials}
    measured = {key: study.measurement_id(workload) for key, workload in workloads.items()}
    steps = {key: total_steps(workload, dataset_facts(workload, facts)) for key, workload in workloads.items()}
    return ledger.create_study(
        name=study.name,
        spec=dict(study.resolved),
        spec_hash=study.spec_hash,
        trials=(
            new_trial(trial, index, measured[id(trial.workload)], steps[id(trial.workload)])
            for index, trial in enumerate(trials)
        ),
        total=len(trials),
        owner=owner,
        key_id=key_id,
        priority=priority,
        idempotency=idempotency,
        quota=quota,
    )


def new_trial(trial: TrialSpec, index: int, measurement_id: str, steps: int, round_number: int = 0) -> NewTrial:
    """A trial as the ledger takes it. `index`: its position in the study; `steps`: its budget in updates."""
    workload, optimizer, schedule = trial.names
    return NewTrial(
        trial_id=trial.trial_id,
        cell_id=trial.cell_id,
        round=round_number,
        workload=workload,
        optimizer=optimizer,
        schedule=schedule,
        peak_lr=trial.peak_lr,
        seed=trial.seed.model_dump(),
        swept=dict(trial.swept),
        measurement_id=measurement_id,
        num_index=index,
        steps=steps,
    )

"""What `plan` answers, in one object: for the command line and for the API alike."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from schemas.catalog import DatasetFacts, dataset_facts
from schemas.plugins import PluginModel
from schemas.probes import thinning_text
from schemas.schedules import Schedule
from schemas.second_moment import beta2_of
from schemas.study import Study
from schemas.trials import TrialState, total_steps
from schemas.warmups import ALMOST
from service.requests import Request, accept
from workers.cards import cards
from workers.cores import num_cores
from workers.ledger.ledger import Ledger
from workers.ledger.rows import PackRow, PackState
from workers.places import Places
from workers.planning import (
    Estimate,
    PastPack,
    estimate,
    gradients_of_packs,
    measurement_plans,
    plan_packs,
    thinned_points,
)
from workers.planning.calibration import Calibration
from workers.planning.packs import PackPlan, group_key

MOST_STUDIES = 1_000
"""So many of a home's studies, the newest ones, are looked through for what packs were like."""


@dataclass(frozen=True)
class PlannedBudget:
    """What a study may spend, beside what it would need."""

    hours: float | None
    gradients: float | None
    gradients_needed: float
    """Of what is left to train, in gradient equivalents, at most."""
    packs_paid: int | None
    """How many of the packs that are left `gradients` lets begin, where none has; None without it."""


@dataclass(frozen=True)
class PlannedStudy:
    """A study with its cost on this device class. `estimate` is of what is left to train and measure."""

    study: Study
    estimate: Estimate
    trials: int
    done: int
    """Trials that are finished in this home and would not be trained again."""
    home: Path
    device_class: str
    workers: int
    warmup_steps: Mapping[str, str]
    """Schedule -> its warmup in steps, per workload."""
    budget: PlannedBudget | None = None
    unstacked: Mapping[str, str] = field(default_factory=dict)
    """Workload and optimizer -> why their trials train alone."""
    notes: Sequence[str] = ()
    """What else a person should know before it trains."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "name": self.study.name,
            "spec_hash": self.study.spec_hash,
            "device_class": self.device_class,
            "workers": self.workers,
            **asdict(self.estimate),
            "trials": self.trials,
            "trials_done": self.done,
            "warmup_steps": dict(self.warmup_steps),
            "budget": None if self.budget is None else asdict(self.budget),
            "unstacked": dict(self.unstacked),
            "notes": list(self.notes),
            "spec": dict(self.study.resolved),
        }


def plan_study(document: Any, places: Places, workers: int | None = None) -> PlannedStudy:
    """Plan a document without running it. Writes nothing.

    Raises:
        SpecError: the document is refused, or asks for a device that is not here. DataMissing.
    """
    request = accept(document, places)
    if not Path(places.ledger).exists():
        return plan_request(request, None, places.home, workers)
    with Ledger.open(places.home, create=False) as ledger:
        return plan_request(request, ledger, places.home, workers)


def plan_request(
    request: Request,
    ledger: Ledger | None,
    home: Path,
    workers: int | None = None,
    *,
    owner: str | None = None,
    most_studies: int = MOST_STUDIES,
) -> PlannedStudy:
    """Plan what was accepted, with what a ledger knows of past packs and of trials that are done.

    Args:
        owner: whose studies are looked at; None: everybody's, where there is but one user.
        most_studies: so many of them, the newest ones, are looked through.
    """
    study, datasets = request.study, request.datasets
    device_class = device_class_here(study.fields.execution.device)
    done: set[str] = set()
    past: dict[str, list[PastPack]] = {}
    calibrated: dict[str, Calibration] = {}
    if ledger is not None:
        done, past = _known(ledger, request, device_class, owner, most_studies)
        calibrated = _calibrated(ledger, request, device_class)
    trials = [trial for trial in request.trials if trial.trial_id not in done]
    packs = plan_packs(trials, datasets, own=request.own, device_class=device_class)
    plans = measurement_plans(request.trials, study.fields, datasets)
    count = workers or (num_cores() if device_class == "cpu" else len(cards()))
    cost = estimate(trials, packs, plans, study.fields, datasets, workers=count, past=past, calibrated=calibrated)
    said = _warmup_steps(study, datasets)
    budget = _budget(study, gradients_of_packs(trials, packs, plans))
    return PlannedStudy(
        study,
        cost,
        len(request.trials),
        len(done),
        home,
        device_class,
        count,
        said,
        budget,
        request.unstacked(),
        averaging_notes(request) + own_pack_notes(request, packs, calibrated),
    )


def notes(request: Request) -> list[str]:
    """What a person should know before it trains: which trials are not stacked, and which probe points are left out."""
    alone = [f"unstacked: {why} ({pair}): its trials train one by one" for pair, why in request.unstacked().items()]
    return alone + averaging_notes(request) + thinning_notes(request)


def averaging_notes(request: Request) -> list[str]:
    """Optimizers that average their iterates in the place of a decay, and have one as well."""
    pairs = {
        (trial.optimizer.name or trial.optimizer.kind, trial.schedule.decay.kind)
        for trial in request.trials
        if trial.optimizer.kind == "schedule_free_adamw" and trial.schedule.decay.kind != "constant"
    }
    return [
        f"optimizer {name} averages its iterates in the place of a decay (arXiv 2405.15682), and has decay {decay} as"
        " well; decay constant is what its paper means"
        for name, decay in sorted(pairs)
    ]


def own_pack_notes(request: Request, packs: Sequence[PackPlan], calibrated: Mapping[str, Calibration]) -> list[str]:
    """Models of the user's own that are stacked: the table of pack sizes was measured on models of ours."""
    workloads = {group_key(trial): trial.workload for trial in request.trials}
    said: dict[str, None] = {}
    for pack in packs:
        facts, model = request.own.of(workloads[pack.group_key]), getattr(workloads[pack.group_key], "model", None)
        if facts is not None and isinstance(model, PluginModel) and not pack.unstacked:
            size = f"{pack.size} trials a pack, the default for {facts.num_parameters:,} parameters"
            found = calibrated.get(pack.group_key)
            measured = "not measured on it; --calibrate measures what such a pack costs"
            if found is not None and found.times_faster is not None:
                measured = f"measured here: {found.times_faster:.1f} times as fast a trial as alone"
            said[f"model {model.name}: {size}, {measured}"] = None
    return list(said)


def thinning_notes(request: Request) -> list[str]:
    """What `probe_budget` leaves of the points that the study asks for, one line for each probe that loses some."""
    fields = request.study.fields
    plans = measurement_plans(request.trials, fields, request.datasets)
    thinned = thinned_points(plans.values())
    return [thinning_text(name, counts, fields.probe_budget) for name, counts in thinned.items()]


def device_class_here(asked: str) -> str:
    """The device class that a study would get on this machine, told without torch."""
    found = cards()
    return found[0] if found and asked != "cpu" else "cpu"


def _known(
    ledger: Ledger, request: Request, device_class: str, owner: str | None, most_studies: int
) -> tuple[set[str], dict[str, list[PastPack]]]:
    """What is here: trials that are done, and group key -> packs of the planned size that ran before."""
    packs = plan_packs(request.trials, request.datasets, own=request.own, device_class=device_class)
    rows, _ = ledger.list_studies(most_studies, owner=owner)
    ran = [pack for row in rows if row.device_class == device_class for pack in ledger.packs(row.id, [PackState.DONE])]
    return _done(ledger, request, packs, ran, owner), _past(ledger, device_class, packs, ran)


def _done(ledger: Ledger, request: Request, packs: list[PackPlan], ran: list[PackRow], owner: str | None) -> set[str]:
    """Of the same study, which is continued, or of others, where the newest pack of the size ran as one would today."""
    ids = [trial.trial_id for trial in request.trials]
    known = ledger.study_by_spec_hash(request.study.spec_hash, owner=owner)
    if known is not None:
        trials = {trial.trial_id: trial.state for trial in ledger.trials(known.id)}
        if list(trials) == ids:
            return {trial_id for trial_id, state in trials.items() if state == TrialState.DONE}
    execution: dict[int, str] = {}
    for pack in ran:
        execution.setdefault(pack.size, pack.execution_id)
    measured = {trial.trial_id: request.study.measurement_id(trial.workload) for trial in request.trials}
    size_of = {trial_id: pack.size for pack in packs for trial_id in pack.trial_ids}
    keys = [(id_, measured[id_], execution[size_of[id_]]) for id_ in ids if size_of[id_] in execution]
    return set(ledger.find_reusable(ran[0].study_id, keys)) if ran else set()


def _past(ledger: Ledger, device_class: str, packs: list[PackPlan], ran: list[PackRow]) -> dict[str, list[PastPack]]:
    sizes = {pack.group_key: pack.size for pack in packs}
    # a pack and its timing are written in one transaction, with one clock
    loads = {(pack.group_key, pack.finished_at): pack.plan.get("gradients_per_step") for pack in ran}
    return {
        key: [
            PastPack(row.seconds / row.steps, loads.get((key, row.recorded_at)))
            for row in ledger.timings(device_class, key)
            if row.size == size and row.steps
        ]
        for key, size in sizes.items()
    }


def _calibrated(ledger: Ledger, request: Request, device_class: str) -> dict[str, Calibration]:
    """Group key -> what was measured of packs of the planned size, where none has run to its end since."""
    packs = plan_packs(request.trials, request.datasets, own=request.own, device_class=device_class)
    found = {}
    for key, size in {pack.group_key: pack.size for pack in packs}.items():
        row = ledger.calibration(device_class, key, size)
        if row is None:
            continue
        newer = any(each.size == size and each.recorded_at > row.at for each in ledger.timings(device_class, key))
        if not newer:
            found[key] = Calibration.from_json(row.said)
    return found


def _budget(study: Study, gradients: Sequence[float]) -> PlannedBudget | None:
    budget = study.fields.budget
    if budget is None:
        return None
    spent = [0.0, *accumulate(gradients)][:-1]
    paid = None if budget.gradients is None else sum(before < budget.gradients for before in spent)
    return PlannedBudget(budget.hours, budget.gradients, sum(gradients), paid)


def _warmup_steps(study: Study, datasets: Mapping[str, DatasetFacts]) -> dict[str, str]:
    said = {}
    optimizers = [variant.spec for variant in study.variants("optimizers")]
    for variant in study.variants("schedules"):
        schedule = variant.spec
        # a warmup that follows from beta2 may have another length beside each optimizer
        betas = list(dict.fromkeys(map(beta2_of, optimizers))) if schedule.needs_beta2 else [None]
        lengths = []
        for workload in study.variants("workloads"):
            steps = total_steps(workload.spec, dataset_facts(workload.spec, datasets))
            lengths += [_length_text(schedule.resolve(steps, beta2), steps) for beta2 in betas]
        said[variant.name] = ", ".join(dict.fromkeys(lengths))
    return said


def _length_text(schedule: Schedule, steps: int) -> str:
    length = schedule.warmup_steps(steps)
    if length is None:
        return "closed loop"
    if schedule.warmup.ENDS_AT_PEAK:
        return f"{length} of {steps} steps"
    until = " up to" if length < steps else ": still below"
    return f"{length} of {steps} steps{until} {ALMOST:g} of the decay, which it multiplies from the start"

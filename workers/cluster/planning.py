"""Writes a study's plan once the device class is known, and turns the ledger's packs back into tasks."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from operator import itemgetter
from typing import Any

from schemas.catalog import DatasetFacts
from schemas.errors import WrongState
from schemas.own_parts import NO_PARTS, OwnParts
from schemas.study import Study
from schemas.trials import ExecutionFacts, Member, PackTask, ProbePoints, Seed, TrialSpec
from workers.cluster.orders import TrainerFacts
from workers.ledger.inputs import NewPack
from workers.ledger.ledger import Ledger
from workers.ledger.rows import PackRow
from workers.planning import (
    MeasurementPlan,
    PackPlan,
    expand_trials,
    gradients_per_step,
    measurement_plans,
    plan_packs,
)
from workers.planning.measurement import measurement_key
from workers.planning.packs import group_key

CHUNKS_PER_CHECKPOINT = 10
"""In a plan of an earlier version, which did not say."""


class StudyTrials:
    """A study's trials by id, expanded once per process."""

    def __init__(self, study: Study, datasets: Mapping[str, DatasetFacts], own: OwnParts = NO_PARTS) -> None:
        self.study = study
        self.own = own
        self.datasets = {**datasets, **{facts.kind: facts for facts in own.datasets}}
        self.in_order = expand_trials(study, self.datasets, own=own)
        self.by_id = {trial.trial_id: trial for trial in self.in_order}

    def planned(self, trial_id: str) -> TrialSpec:
        """A trial that the ledger has.

        Raises:
            WrongState: the study was made with other data, or by another version of the program.
        """
        if trial_id not in self.by_id:
            raise WrongState(
                f"trial {trial_id} is not what the study's file gives today: its data set or this program has changed"
                " since it was created; run the file again, which makes a new study"
            )
        return self.by_id[trial_id]


def datasets_of(ledger: Ledger) -> dict[str, DatasetFacts]:
    """The catalog: kind -> facts."""
    return {row.kind: DatasetFacts.model_validate(row.facts) for row in ledger.datasets()}


def has_plans(ledger: Ledger, study_id: str) -> bool:
    """Whether every round of the study has its plan."""
    return all(row.planned_at is not None for row in ledger.rounds(study_id))


def write_plans(ledger: Ledger, study_id: str, trials: StudyTrials, facts: TrainerFacts, fence: int) -> None:
    """Write the plan of every round that has none, in order."""
    rounds = ledger.rounds(study_id)
    for number in (row.round for row in rounds if row.planned_at is None):
        of_round = trials.in_order if len(rounds) == 1 else _trials_of_round(ledger, study_id, number, trials)
        write_plan(ledger, study_id, number, trials, of_round, facts, fence)


def write_plan(
    ledger: Ledger,
    study_id: str,
    round_number: int,
    trials: StudyTrials,
    of_round: Sequence[TrialSpec],
    facts: TrainerFacts,
    fence: int,
) -> None:
    """Write one round's plan: finished trials of other studies with the same three ids are taken over, others packed.

    The plan of an earlier round is left as it is: a later trial never joins a pack of an older one.
    """
    plan = partial(
        plan_packs,
        datasets=trials.datasets,
        own=trials.own,
        device_class=facts.device_class,
        steps_per_second=_steps_per_second(ledger, facts.device_class, of_round),
    )
    packs = plan(of_round)
    # The planned size decides the bits, so a trial may be taken over only if it was trained in a pack of that size.
    execution = {id_: execution_id_of(facts, pack.size) for pack in packs for id_ in pack.trial_ids}
    workloads = {id(trial.workload): trial.workload for trial in of_round}
    measured = {key: trials.study.measurement_id(workload) for key, workload in workloads.items()}
    keys = [(trial.trial_id, measured[id(trial.workload)], execution[trial.trial_id]) for trial in of_round]
    reused = ledger.find_reusable(study_id, keys)
    if reused:
        packs = plan([trial for trial in of_round if trial.trial_id not in reused])
    plans = measurement_plans(of_round, trials.study.fields, trials.datasets)
    new = [_new_pack(study_id, pack, plans, trials.by_id, facts) for pack in packs]
    ledger.write_plan(study_id, round_number, new, fence, facts.device_class, reused=list(reused.values()))


def planned_facts(packs: Sequence[PackRow]) -> TrainerFacts | None:
    """What these packs were planned for; None where there are none."""
    return TrainerFacts(**packs[0].plan["facts"], origins={}) if packs else None


def in_turn(packs: Iterable[PackRow], trials: StudyTrials) -> list[PackRow]:
    """The order in which packs begin: by round, then those with the first seed, then the second; of one seed the first
    peak rate of every schedule, then the next, as far as packs hold them apart. So a study that ends early has whole
    comparisons. Bits and ids do not hang on it.
    """
    seeds: dict[Seed, int] = {}
    places = {
        trial.trial_id: (seeds.setdefault(trial.seed, len(seeds)), number)
        for number, trial in enumerate(trials.in_order)
    }
    last = (len(seeds), len(places))  # of a trial that the study's file no longer gives, which is said when it begins

    def turn(pack: PackRow) -> tuple[int, tuple[int, int]]:
        return pack.round, min((places.get(trial_id, last) for trial_id, _ in pack.members), default=last)

    before: Counter[object] = Counter()
    """Packs of the same round, seed and schedule so far."""
    ordered = []
    for pack in sorted(packs, key=turn):
        round_number, (seed, number) = turn(pack)
        kind = round_number, seed, _kind_of(trials.in_order[number]) if number < len(places) else None
        ordered.append(((round_number, seed, before[kind], number), pack))
        before[kind] += 1
    return [pack for _, pack in sorted(ordered, key=itemgetter(0))]


def _kind_of(trial: TrialSpec) -> tuple[object, ...]:
    """What is compared: everything but the rate and the seed."""
    return trial.names, tuple(sorted((path, str(value)) for path, value in trial.swept.items()))


def pack_task(pack: PackRow, trials: StudyTrials, device: str) -> PackTask:
    """The task of a pack as the plan fixed it."""
    points = [
        {name: ProbePoints(steps=tuple(row["steps"]), hvps_allowed=row["hvps_allowed"]) for name, row in plan.items()}
        for plan in pack.plan["points"]
    ]
    members = tuple(
        Member(slot, trials.planned(trial_id), points[pack.plan["points_of_slot"][slot]])
        for trial_id, slot in pack.members
    )
    return PackTask(
        pack_id=pack.pack_id,
        size=pack.size,
        members=members,
        probes=trials.study.fields.probes,
        chunk_steps=pack.chunk_steps,
        checkpoint_steps=pack.plan.get("checkpoint_steps", CHUNKS_PER_CHECKPOINT * pack.chunk_steps),
        device="cpu" if device == "cpu" else "cuda",
        stacked=not pack.plan.get("unstacked"),
    )


def _trials_of_round(ledger: Ledger, study_id: str, number: int, trials: StudyTrials) -> list[TrialSpec]:
    """In the order of their positions, so that a round's packs do not hang on what the rounds after it added."""
    return [trials.planned(row.trial_id) for row in ledger.trials(study_id) if row.round == number]


def _new_pack(
    study_id: str,
    pack: PackPlan,
    plans: Mapping[Any, MeasurementPlan],
    by_id: Mapping[str, TrialSpec],
    facts: TrainerFacts,
) -> NewPack:
    of_slot = [measurement_key(by_id[trial_id]) for trial_id in pack.trial_ids]
    distinct = list(dict.fromkeys(of_slot))
    return NewPack(
        pack_id=hashlib.sha256(f"{study_id}/{pack.pack_id}".encode()).hexdigest()[:20],
        group_key=pack.group_key,
        size=pack.size,
        chunk_steps=pack.chunk_steps,
        members=[(trial_id, slot) for slot, trial_id in enumerate(pack.trial_ids)],
        execution_id=execution_id_of(facts, pack.size),
        plan={
            "points": [
                {name: points.model_dump(mode="json") for name, points in plans[key].points.items()} for key in distinct
            ],
            "points_of_slot": [distinct.index(key) for key in of_slot],
            "total_steps": pack.total_steps,
            "checkpoint_steps": pack.checkpoint_steps,
            "gradients_per_step": gradients_per_step([plans[key] for key in of_slot], pack.total_steps),
            **({"unstacked": pack.unstacked} if pack.unstacked else {}),
            "facts": {name: value for name, value in asdict(facts).items() if name != "origins"},
        },
    )


def execution_id_of(facts: TrainerFacts, pack_size: int) -> str:
    """The id of what decides the bits of a pack of this size."""
    return ExecutionFacts(
        torch_version=facts.torch_version,
        device_class=facts.device_class,
        cpu_capability=facts.cpu_capability,
        cuda_version=facts.cuda_version,
        intra_op_threads=facts.intra_op_threads,
        pack_size=pack_size,
    ).execution_id


def _steps_per_second(ledger: Ledger, device_class: str, trials: Sequence[TrialSpec]) -> dict[str, float]:
    rates = {}
    for key in {group_key(trial) for trial in trials}:
        past = [row.steps / row.seconds for row in ledger.timings(device_class, key) if row.seconds > 0]
        if past:
            rates[key] = min(past)
    return rates

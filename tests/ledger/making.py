"""Small studies, plans and receipts for the ledger's tests."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from threading import Barrier

from schemas.trials import Outcome, TrialState
from workers.ledger.inputs import NewPack, NewTrial, Receipt
from workers.ledger.ledger import Ledger

EXECUTION = "e" * 64
TTL_S = 60.0


def digest(text):
    return sha256(text.encode()).hexdigest()


def new_trials(number, *, start=0, round=0, name="t"):
    return [
        NewTrial(
            trial_id=digest(f"{name}{i}"),
            cell_id=digest(f"cell{i // 2}"),
            round=round,
            workload="digits",
            optimizer="adam",
            schedule="linear",
            peak_lr=1e-3 * (i + 1),
            seed={"initialization": i % 2, "data_order": i % 2, "noise": i % 2},
            swept={"optimizer.weight_decay": 0.1},
            measurement_id="m" * 64,
            num_index=i,
        )
        for i in range(start, start + number)
    ]


def with_steps(trials, steps):
    return [replace(trial, steps=steps) for trial in trials]


def new_study(ledger: Ledger, number=4, *, trials=None, **more):
    facts = {"name": "small", "spec": {"schema_version": 1}, "spec_hash": digest("spec")}
    trials = new_trials(number) if trials is None else trials
    return ledger.create_study(**facts | more, trials=trials, total=len(trials))


def packs_of(study_id, trials, size=2, execution_id=EXECUTION, tag="p"):
    return [
        NewPack(
            pack_id=f"{study_id}-{tag}{first // size}",
            group_key="digits-mlp",
            size=size,
            chunk_steps=100,
            members=[(trial.trial_id, slot) for slot, trial in enumerate(trials[first : first + size])],
            execution_id=execution_id,
            plan={"probe_points": [0, 10]},
        )
        for first in range(0, len(trials), size)
    ]


def planned(ledger: Ledger, number=4, *, size=2, **more):
    """A study with a run lease and a plan: (study id, fence, pack ids)."""
    study = new_study(ledger, number, **more)
    fence = drive(ledger, study.id)
    packs = packs_of(study.id, new_trials(number), size)
    ledger.write_plan(study.id, 0, packs, fence, "cpu")
    return study.id, fence, [pack.pack_id for pack in packs]


def drive(ledger: Ledger, study_id, owner="driver"):
    lease = ledger.acquire_lease(study_id, "run", owner, TTL_S)
    assert lease is not None
    return lease.fence


def result(trial_id, slot, outcome=Outcome.TRAINED, **summary):
    state = TrialState.ERRORED if outcome is None else TrialState.DONE
    return {"trial_id": trial_id, "slot": slot, "state": state, "outcome": outcome, "summary": summary}


def receipt(pack, outcome=Outcome.TRAINED, steps=100, **summary):
    """A receipt of a running PackRow in which every member ended alike."""
    results = [result(trial_id, slot, outcome, **summary) for trial_id, slot in pack.members]
    return Receipt(pack.pack_id, pack.attempt, segments(pack.pack_id), results, seconds=2.0, steps=steps)


def segments(name):
    return [{"table": "steps", "name": f"{name}/0-99", "sha256": digest(name), "num_rows": 100}]


def recounted(ledger: Ledger, study_id):
    """What a study's counts must be, counted trial by trial: (counts, steps, steps_unfinished)."""
    rows = list(ledger.trials(study_id))
    counts = dict.fromkeys([*map(str, TrialState), *map(str, Outcome)], 0)
    for row in rows:
        counts[row.state] += 1
        if row.outcome is not None:
            counts[row.outcome] += 1
    unfinished = sum(row.steps for row in rows if not row.state.is_final)
    return counts, sum(row.steps for row in rows), unfinished


def at_once(number, do):
    """`do(i)` for i below `number`, in threads that begin together; the results."""
    barrier = Barrier(number)

    def begin(i):
        barrier.wait()
        return do(i)

    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(begin, range(number)))


def finish(ledger: Ledger, study_id, fence, pack_ids, **more):
    started = ledger.start_packs(study_id, pack_ids, fence)
    return ledger.commit_receipts(study_id, fence, [receipt(pack, **more) for pack in started])

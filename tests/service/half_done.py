"""A study of which half is done, as its driver would leave it, without training: for tests of what is handed out."""

import math
from dataclasses import asdict

import numpy as np

from schemas.records import names
from schemas.study import parse_study
from schemas.trials import Outcome, TrialState
from tests.ledger.making import TTL_S, packs_of
from workers.ledger.inputs import Receipt
from workers.planning import expand_trials
from workers.records import RecordStore
from workers.studies import create_study, published_datasets

STEPS = 20


def half_done(ledger, places, document, *, owner="team"):
    """The study's id; the trials of every second pack of two are done, one of them diverged."""
    study = parse_study(document)
    row = create_study(ledger, study, expand_trials(study, published_datasets(ledger)), owner=owner)
    trials = list(ledger.trials(row.id))
    fence = ledger.acquire_lease(row.id, "run", "driver", TTL_S).fence
    ledger.set_study_state(row.id, TrialState.RUNNING, fence=fence)
    ledger.write_plan(row.id, 0, packs_of(row.id, trials), fence, "cpu")
    store = RecordStore(places.records, durable=False)
    started = ledger.start_packs(row.id, [pack.pack_id for pack in ledger.packs(row.id)][::2], fence)
    ledger.commit_receipts(row.id, fence, [_receipt(store, pack) for pack in started])
    return row.id


def finish(ledger, study_id):
    """End the study as it is."""
    ledger.set_study_state(study_id, TrialState.CANCELLED, reason="</script>enough")


def _receipt(store, pack):
    writer = store.writer(pack.pack_id, pack.attempt)
    writer.write(0, STEPS - 1, {"steps": _steps([trial_id for trial_id, _ in pack.members])})
    manifest = [asdict(segment) for segment in writer.manifest]
    results = [_result(trial_id, slot) for trial_id, slot in pack.members]
    return Receipt(pack.pack_id, pack.attempt, manifest, results, seconds=1.0, steps=STEPS)


def _result(trial_id, slot):
    outcome, loss = (Outcome.DIVERGED, math.nan) if slot else (Outcome.TRAINED, 0.4)
    summary = {"final": {"validation_loss": loss, "train_loss": loss}, "best": {"validation_loss": loss}}
    summary |= {
        "start_loss": 2.4,
        "reference_loss": 2.3,
        "steps_completed": STEPS,
        "warmup_steps": 5,
        "max_loss": math.inf,
    }
    return {"trial_id": trial_id, "slot": slot, "state": TrialState.DONE, "outcome": outcome, "summary": summary}


def _steps(trial_ids):
    step = np.repeat(np.arange(STEPS), len(trial_ids))
    numbers = dict.fromkeys(names("steps")[2:], 1.0 / (1.0 + step))
    return {"trial_id": np.array(trial_ids * STEPS), "step": step} | numbers

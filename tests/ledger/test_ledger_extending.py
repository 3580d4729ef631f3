"""Widening a study: new trials, a new spec, and a final study queued again, in one step."""

from dataclasses import replace

import pytest

from schemas.errors import QuotaExceeded, StaleFence, WrongState
from schemas.trials import TrialState
from tests.ledger.making import at_once, digest, drive, finish, new_study, new_trials, packs_of, planned, with_steps
from workers.ledger.inputs import Quota
from workers.ledger.rows import EventKind

WIDER = {"schema_version": 1, "seeds": {"count": 3}}


def extend(ledger, study_id, *, start=4, number=2, round=1, was=None, now="wider"):
    return ledger.extend_study(
        study_id,
        spec=WIDER,
        spec_hash=digest(now),
        was_spec_hash=digest("spec") if was is None else was,
        body={"spec": WIDER},
        trials=new_trials(number, start=start, round=round),
    )


def done(ledger):
    study_id, fence, pack_ids = planned(ledger)
    ledger.set_study_state(study_id, TrialState.RUNNING, fence=fence)
    finish(ledger, study_id, fence, pack_ids)
    ledger.set_study_state(study_id, TrialState.DONE, fence=fence)
    ledger.release_lease(study_id, "run", "driver", fence)
    return study_id, fence


def test_a_done_study_runs_only_what_is_new(ledger):
    study_id, _ = done(ledger)
    study = extend(ledger, study_id)
    assert (study.state, study.total, study.spec, study.spec_hash) == (TrialState.QUEUED, 6, WIDER, digest("wider"))
    assert (study.counts["done"], study.counts["queued"]) == (4, 2)
    assert [(row.round, row.kind, row.body) for row in ledger.rounds(study_id)][1:] == [(1, "extend", {"spec": WIDER})]
    fence = drive(ledger, study_id, "next")
    (pack,) = packs_of(study_id, new_trials(2, start=4, round=1), tag="q")
    ledger.write_plan(study_id, 1, [pack], fence, "cpu")
    ledger.set_study_state(study_id, TrialState.RUNNING, fence=fence)
    finish(ledger, study_id, fence, [pack.pack_id])
    ledger.set_study_state(study_id, TrialState.DONE, fence=fence)
    assert ledger.study(study_id).counts["trained"] == 6


def test_a_driver_that_is_closing_down_is_fenced_off(ledger):
    study_id, fence = done(ledger)
    extend(ledger, study_id)
    with pytest.raises(StaleFence):
        ledger.set_publishing(study_id, "behind", fence=fence)


def test_what_a_cancelled_study_had_left_is_taken_up_too(ledger):
    study_id, fence, pack_ids = planned(ledger)
    finish(ledger, study_id, fence, pack_ids[:1])
    ledger.set_study_state(study_id, TrialState.CANCELLED, fence=fence)
    study = extend(ledger, study_id)
    assert (study.state, study.cancel_requested) == (TrialState.QUEUED, False)
    assert (study.counts["done"], study.counts["queued"], study.counts["cancelled"]) == (2, 4, 0)
    kinds = [event.kind for event in ledger.events(study_id)]
    assert kinds[-2:] == [EventKind.STUDY_CONTINUED, EventKind.ROUND_ADDED]


def test_a_study_that_waits_is_widened_where_it_stands(ledger):
    study = new_study(ledger)
    wider = extend(ledger, study.id)
    assert (wider.state, wider.total, wider.continuations) == (TrialState.QUEUED, 6, 0)


def test_a_study_that_runs_is_refused_and_left_alone(ledger):
    study_id, fence, _ = planned(ledger)
    before = ledger.study(study_id)
    with pytest.raises(WrongState, match="is running"):  # queued, but a driver holds it
        extend(ledger, study_id)
    assert ledger.study(study_id) == before
    ledger.set_study_state(study_id, TrialState.RUNNING, fence=fence)
    ledger.release_lease(study_id, "run", "driver", fence)
    with pytest.raises(WrongState, match="is running"):
        extend(ledger, study_id)
    assert [row.round for row in ledger.rounds(study_id)] == [0]


def test_trials_that_add_to_another_spec_are_refused(ledger):
    study_id, _ = done(ledger)
    extend(ledger, study_id)
    with pytest.raises(WrongState, match="by somebody else meanwhile"):
        extend(ledger, study_id, start=6, round=2, now="widest")
    assert extend(ledger, study_id, start=6, round=2, was=digest("wider"), now="widest").total == 8


@pytest.mark.slow
def test_of_many_who_widen_a_study_at_once_one_does(ledger):
    study_id, _ = done(ledger)

    def try_to(i):
        try:
            return extend(ledger, study_id).total
        except WrongState:
            return None

    assert sorted(at_once(6, try_to), key=str) == [6] + [None] * 5
    assert ledger.study(study_id).total == 6


def test_of_a_study_that_is_taken_up_its_own_run_and_the_cells_with_new_trials_are_published_again(ledger):
    study_id, fence = done(ledger)  # cells 0 and 1
    keys = [study_id, digest("cell0"), digest("cell1"), digest("t0")]
    for key in keys:
        ledger.record_publication(study_id, key, f"run of {key}", 100, fence, is_final=True)
    added = [replace(trial, cell_id=digest("cell1")) for trial in new_trials(1, start=4, round=1)]
    wider = {"spec": WIDER, "spec_hash": digest("wider"), "was_spec_hash": digest("spec"), "body": {}}
    ledger.extend_study(study_id, **wider, trials=added)
    assert {row.key for row in ledger.final_publications(study_id)} == {digest("cell0"), digest("t0")}
    assert ledger.publication(study_id, study_id).run_id == f"run of {study_id}"


def test_of_a_study_that_is_continued_its_own_run_is_published_again(ledger):
    study_id, fence, _ = planned(ledger)
    ledger.set_study_state(study_id, TrialState.CANCELLED, fence=fence)
    ledger.record_publication(study_id, study_id, "run", 0, fence, is_final=True)
    ledger.continue_study(study_id)
    assert ledger.final_publications(study_id) == []


@pytest.mark.parametrize(
    "quota", [Quota(trials_unfinished=1), Quota(steps_unfinished=2 * 50 - 1), Quota(studies_queued=0)], ids=str
)
def test_what_a_wider_study_adds_is_held_against_its_owners_quota(ledger, quota):
    study_id, _ = done(ledger)
    before, events = ledger.study(study_id), ledger.last_event_seq(study_id)
    wider = {"spec": WIDER, "spec_hash": digest("wider"), "was_spec_hash": digest("spec"), "body": {}}
    added = with_steps(new_trials(2, start=4, round=1), 50)
    with pytest.raises(QuotaExceeded) as refused:
        ledger.extend_study(study_id, **wider, trials=added, quota=quota)
    assert not refused.value.can_ever_fit
    assert (ledger.study(study_id), ledger.last_event_seq(study_id)) == (before, events)
    enough = Quota(studies_queued=1, trials_unfinished=2, steps_unfinished=2 * 50)
    assert ledger.extend_study(study_id, **wider, trials=added, quota=enough).total == 6


def test_what_is_continued_is_held_against_its_owners_quota(ledger):
    study_id, fence, pack_ids = planned(ledger)
    finish(ledger, study_id, fence, pack_ids[:1])
    ledger.set_study_state(study_id, TrialState.CANCELLED, fence=fence)
    with pytest.raises(QuotaExceeded, match=r"trials_unfinished: got 0 [+] 2, allowed 1"):
        ledger.continue_study(study_id, quota=Quota(trials_unfinished=1))
    assert ledger.study(study_id).state is TrialState.CANCELLED
    assert ledger.continue_study(study_id, quota=Quota(trials_unfinished=2)).state is TrialState.QUEUED

"""Leases and the fence: one driver at a time, and nothing from a replaced one."""

import time

import pytest

from schemas.errors import StaleFence, StudyNotFound
from schemas.trials import TrialState
from tests.ledger.making import TTL_S, drive, new_study, new_trials, packs_of, planned, receipt, segments
from workers.ledger.inputs import PackProgress


def test_a_fresh_lease_is_refused_to_others(ledger):
    study = new_study(ledger)
    assert ledger.acquire_lease(study.id, "run", "a", TTL_S).fence == 1
    assert ledger.acquire_lease(study.id, "run", "b", TTL_S) is None
    assert ledger.study(study.id).attempt == 1


def test_the_two_kinds_of_lease_do_not_meet(ledger):
    study = new_study(ledger)
    ledger.acquire_lease(study.id, "launch", "controller", TTL_S)
    assert ledger.acquire_lease(study.id, "run", "driver", TTL_S) is not None
    assert ledger.lease(study.id, "launch").owner == "controller"


def test_an_expired_or_released_lease_may_be_taken_and_raises_the_fence(ledger):
    study = new_study(ledger)
    first = ledger.acquire_lease(study.id, "run", "a", 0.0)
    assert not ledger.lease(study.id, "run").is_fresh
    second = ledger.acquire_lease(study.id, "run", "b", TTL_S)
    assert (first.fence, second.fence) == (1, 2)
    assert ledger.lease(study.id, "run").is_fresh
    assert ledger.release_lease(study.id, "run", "b", 2)
    assert ledger.acquire_lease(study.id, "run", "c", TTL_S).fence == 3


def test_only_its_holder_renews_or_releases_a_lease(ledger):
    study = new_study(ledger)
    old = ledger.acquire_lease(study.id, "run", "a", 0.0)
    assert ledger.renew_lease(study.id, "run", "a", old.fence, 0.0)  # expired, but nobody took it
    ledger.acquire_lease(study.id, "run", "b", TTL_S)
    assert not ledger.renew_lease(study.id, "run", "a", old.fence, TTL_S)
    assert not ledger.release_lease(study.id, "run", "a", old.fence)
    assert ledger.lease(study.id, "run").owner == "b"


def test_expiry_is_by_the_clock_of_the_database(ledger, monkeypatch):
    study = new_study(ledger)
    ledger.acquire_lease(study.id, "run", "a", TTL_S)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert ledger.acquire_lease(study.id, "run", "b", TTL_S) is None


def test_a_continued_study_can_be_cancelled_at_once_while_its_old_driver_closes_down(ledger):
    study_id, fence, _ = planned(ledger)
    ledger.set_study_state(study_id, TrialState.CANCELLED, fence=fence)
    ledger.continue_study(study_id)
    ledger.request_cancel(study_id)
    assert ledger.study(study_id).state == TrialState.CANCELLED


def test_continuing_fences_off_a_driver_that_is_closing_down(ledger):
    study_id, fence, _ = planned(ledger)
    ledger.set_study_state(study_id, TrialState.CANCELLED, fence=fence)
    ledger.continue_study(study_id)
    assert not ledger.renew_lease(study_id, "run", "driver", fence, TTL_S)
    with pytest.raises(StaleFence):
        ledger.start_packs(study_id, [], fence)


WRITES = {
    "append_round": lambda ledger, study, fence, packs: ledger.append_round(
        study, "extend", {}, new_trials(1, start=9, round=1), fence=fence
    ),
    "set_study_state": lambda ledger, study, fence, packs: ledger.set_study_state(
        study, TrialState.RUNNING, fence=fence
    ),
    "set_publishing": lambda ledger, study, fence, packs: ledger.set_publishing(study, "behind", fence=fence),
    "cancel_remaining": lambda ledger, study, fence, packs: ledger.cancel_remaining(study, fence),
    "write_plan": lambda ledger, study, fence, packs: ledger.write_plan(study, 1, [], fence, "cpu"),
    "replan": lambda ledger, study, fence, packs: ledger.replan(
        study, packs[0].pack_id, packs_of(study, new_trials(2), tag="n"), fence
    ),
    "start_packs": lambda ledger, study, fence, packs: ledger.start_packs(study, [packs[1].pack_id], fence),
    "record_progress": lambda ledger, study, fence, packs: ledger.record_progress(
        study, fence, [PackProgress(packs[0].pack_id, 1, segments("a"), None, 1)]
    ),
    "requeue_packs": lambda ledger, study, fence, packs: ledger.requeue_packs(study, None, fence, "died"),
    "fail_pack": lambda ledger, study, fence, packs: ledger.fail_pack(study, packs[0].pack_id, fence, "bug"),
    "compacted": lambda ledger, study, fence, packs: ledger.compacted(study, packs[0].pack_id, fence, [], []),
    "commit_receipts": lambda ledger, study, fence, packs: ledger.commit_receipts(study, fence, [receipt(packs[0])]),
    "record_publication": lambda ledger, study, fence, packs: ledger.record_publication(study, "k", "run", 1, fence),
    "record_publications": lambda ledger, study, fence, packs: ledger.record_publications(study, [], fence),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_replaced_driver_writes_nothing(ledger, name):
    study_id, stale, pack_ids = planned(ledger)
    packs = ledger.start_packs(study_id, pack_ids[:1], stale) + ledger.packs(study_id)[1:]
    ledger.release_lease(study_id, "run", "driver", stale)
    drive(ledger, study_id, "successor")
    before = (ledger.study(study_id), ledger.packs(study_id), list(ledger.trials(study_id)), ledger.events(study_id))
    with pytest.raises(StaleFence, match="attempt 1 was replaced by attempt 2"):
        WRITES[name](ledger, study_id, stale, packs)
    after = (ledger.study(study_id), ledger.packs(study_id), list(ledger.trials(study_id)), ledger.events(study_id))
    assert before == after


@pytest.mark.parametrize("name", WRITES)
def test_writing_to_a_study_that_does_not_exist_is_said(ledger, name):
    study_id, fence, _ = planned(ledger)
    with pytest.raises(StudyNotFound):
        WRITES[name](ledger, "0" * 16, fence, ledger.packs(study_id))

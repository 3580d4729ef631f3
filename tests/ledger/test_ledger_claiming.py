"""Claiming a study to launch, however many claim at once; and settling one whose driver is gone."""

import pytest

from schemas.errors import StaleFence
from schemas.trials import TrialState
from tests.ledger.making import TTL_S, at_once, drive, new_study, planned
from tests.ledger.test_ledger_queue import waiting
from workers.ledger.rows import PackState


def test_the_next_study_is_claimed_and_then_the_one_after_it(ledger):
    low, high = waiting(ledger, 0, 5)
    assert ledger.claim("a", TTL_S, 2).study_id == high
    assert ledger.claim("b", TTL_S, 2).study_id == low
    assert ledger.claim("a", TTL_S, 3) is None


def test_no_more_are_claimed_than_may_run(ledger):
    waiting(ledger, 0, 0, 0)
    assert ledger.claim("a", TTL_S, 1) is not None
    assert ledger.claim("a", TTL_S, 1) is None
    assert ledger.claim("b", TTL_S, 2) is not None


def test_a_study_that_is_only_published_still_takes_no_place(ledger):
    published, free = waiting(ledger, 5, 0)
    fence = drive(ledger, published)
    ledger.set_study_state(published, TrialState.RUNNING, fence=fence)
    assert ledger.claim("a", TTL_S, 1) is None
    ledger.set_study_state(published, TrialState.ERRORED, fence=fence)
    assert ledger.claim("a", TTL_S, 1).study_id == free


def test_a_study_may_be_passed_over(ledger):
    first, second = waiting(ledger, 5, 0)
    assert ledger.claim("a", TTL_S, 2, passed_over=[first]).study_id == second


def test_many_that_claim_at_once_keep_the_limit_and_get_different_studies(ledger):
    waiting(ledger, *[0] * 6)
    claimed = [lease.study_id for lease in at_once(8, lambda i: ledger.claim(f"c{i}", TTL_S, 3)) if lease is not None]
    # One may have found its study taken between choosing and holding it, and asks again.
    claimed += [lease.study_id for _ in range(8) if (lease := ledger.claim("late", TTL_S, 3)) is not None]
    assert len(set(claimed)) == len(claimed) == 3
    assert ledger.num_running() == 3


def test_held_leases_are_the_fresh_ones(ledger):
    driven, launched, dead = waiting(ledger, 0, 0, 0)
    drive(ledger, driven)
    ledger.claim("c", TTL_S, 9, passed_over=[dead])
    ledger.acquire_lease(dead, "run", "gone", 0.0)
    held = {(lease.study_id, lease.kind, lease.owner) for lease in ledger.held_leases()}
    assert held == {(driven, "run", "driver"), (launched, "launch", "c")}


def test_running_studies_without_a_driver_are_abandoned(ledger):
    driven, _, _ = planned(ledger, name="driven")
    dead, fence, packs = planned(ledger, name="dead")
    waits = new_study(ledger, 1).id
    for study_id in (driven, dead):
        ledger.set_study_state(study_id, TrialState.RUNNING)
    ledger.start_packs(dead, packs, fence)
    assert ledger.abandoned() == []
    ledger.release_lease(dead, "run", "driver", fence)
    assert ledger.abandoned() == [dead]
    assert waits not in ledger.abandoned()


def test_an_abandoned_study_is_queued_again_with_what_it_ran(ledger):
    study_id, fence, packs = planned(ledger)
    ledger.set_study_state(study_id, TrialState.RUNNING, fence=fence)
    ledger.start_packs(study_id, packs, fence)
    assert not ledger.settle_abandoned(study_id, TrialState.QUEUED, "its driver is gone"), "it has a driver"
    ledger.release_lease(study_id, "run", "driver", fence)
    assert ledger.settle_abandoned(study_id, TrialState.QUEUED, "its driver is gone")
    row = ledger.study(study_id)
    assert (row.state, row.reason) == (TrialState.QUEUED, "its driver is gone")
    assert {pack.state for pack in ledger.packs(study_id)} == {PackState.QUEUED}
    assert row.counts["queued"] == 4
    with pytest.raises(StaleFence):
        ledger.start_packs(study_id, packs, fence)
    assert not ledger.settle_abandoned(study_id, TrialState.QUEUED, "again")


@pytest.mark.parametrize("state", [TrialState.CANCELLED, TrialState.ERRORED])
def test_an_abandoned_study_may_be_ended_and_keeps_what_is_done(ledger, state):
    from tests.ledger.making import finish

    study_id, fence, packs = planned(ledger)
    ledger.set_study_state(study_id, TrialState.RUNNING, fence=fence)
    finish(ledger, study_id, fence, packs[:1])
    ledger.start_packs(study_id, packs[1:], fence)
    ledger.release_lease(study_id, "run", "driver", fence)
    assert ledger.settle_abandoned(study_id, state, "why")
    row = ledger.study(study_id)
    assert (row.state, row.reason) == (state, "why")
    assert (row.counts["done"], row.counts["cancelled"]) == (2, 2)
    assert not ledger.settle_abandoned(study_id, TrialState.ERRORED, "again"), "final is final"


def test_a_queued_study_that_is_to_be_cancelled_is_abandoned_once_nobody_has_it(ledger):
    study_id = new_study(ledger, 1).id
    fence = drive(ledger, study_id)
    ledger.request_cancel(study_id)
    assert ledger.abandoned() == []
    ledger.release_lease(study_id, "run", "driver", fence)
    assert ledger.abandoned() == [study_id]

"""The queue: priority, then age; nothing that is launched, driven, final or to be cancelled."""

import time

from sqlalchemy import update

from schemas.trials import TrialState
from tests.ledger.making import TTL_S, finish, new_study, planned
from workers.ledger.tables import studies


def waiting(ledger, *priorities):
    """Studies of these priorities, each made after the one before."""
    made = []
    for age, priority in enumerate(priorities):
        made.append(new_study(ledger, 1, priority=priority).id)
        with ledger.write() as connection:
            connection.execute(update(studies).where(studies.c.id == made[-1]).values(created_ms=1_000 + age))
    return made


def test_studies_are_claimed_by_priority_then_age(ledger):
    low, high, also_high, negative = waiting(ledger, 0, 5, 5, -1)
    assert ledger.claimable(10) == [high, also_high, low, negative]
    assert ledger.claimable(2) == [high, also_high]


def test_what_is_launched_or_driven_is_not_claimed_twice(ledger):
    launched, driven, free = waiting(ledger, 0, 0, 0)
    launch = ledger.acquire_lease(launched, "launch", "controller", TTL_S)
    ledger.acquire_lease(driven, "run", "driver", TTL_S)
    assert ledger.claimable(10) == [free]
    assert ledger.num_running() == 2
    ledger.acquire_lease(launched, "run", "its driver", TTL_S)
    assert ledger.num_running() == 2
    ledger.release_lease(launched, "launch", "controller", launch.fence)
    assert ledger.claimable(10) == [free]


def test_what_nobody_holds_any_more_is_claimed_again(ledger):
    launched, driven = waiting(ledger, 0, 0)
    ledger.acquire_lease(launched, "launch", "controller", 0.0)
    fence = ledger.acquire_lease(driven, "run", "driver", TTL_S).fence
    ledger.release_lease(driven, "run", "driver", fence)
    assert ledger.claimable(10) == [launched, driven]
    assert ledger.num_running() == 0


def test_freshness_is_by_the_clock_of_the_database(ledger, monkeypatch):
    held, free = waiting(ledger, 0, 0)
    ledger.acquire_lease(held, "launch", "controller", TTL_S)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert ledger.claimable(10) == [free]
    assert ledger.num_running() == 1


def test_only_queued_studies_that_nobody_wants_cancelled_are_claimed(ledger):
    running, final, unwanted, free = waiting(ledger, 0, 0, 0, 0)
    ledger.set_study_state(running, TrialState.RUNNING)
    ledger.set_study_state(final, TrialState.ERRORED)
    with ledger.write() as connection:
        connection.execute(update(studies).where(studies.c.id == unwanted).values(cancel_requested=True))
    assert ledger.claimable(10) == [free]


def done(ledger, *, publishing="behind"):
    study_id, fence, packs = planned(ledger, 2)
    finish(ledger, study_id, fence, packs)
    ledger.set_study_state(study_id, TrialState.DONE, fence=fence)
    ledger.release_lease(study_id, "run", "driver", fence)
    ledger.set_publishing(study_id, publishing)
    return study_id


def test_only_final_studies_that_nobody_holds_are_behind_the_oldest_first(ledger):
    first, second, held, _current = done(ledger), done(ledger), done(ledger), done(ledger, publishing="current")
    ledger.set_publishing(waiting(ledger, 0)[0], "behind")
    lease = ledger.acquire_lease(held, "publish", "another controller", TTL_S)
    assert ledger.behind(10) == [first, second]
    assert ledger.behind(1) == [first]
    assert ledger.behind(10, passed_over=[first]) == [second]
    ledger.release_lease(held, "publish", "another controller", lease.fence)
    assert held in ledger.behind(10)


def test_who_publishes_a_study_holds_up_nobody_who_would_run_it(ledger):
    (study_id,) = waiting(ledger, 0)
    ledger.acquire_lease(study_id, "publish", "controller", TTL_S)
    assert ledger.num_running() == 0
    assert ledger.claimable(10) == [study_id]
    assert ledger.claim("controller", TTL_S, 1).study_id == study_id
    ledger.release_lease(study_id, "launch", "controller", 1)
    ledger.set_study_state(study_id, TrialState.RUNNING)
    assert ledger.abandoned() == [study_id]
    assert ledger.settle_abandoned(study_id, TrialState.QUEUED, "its driver is gone")


def test_studies_that_wait_are_told_why_and_those_that_do_not_are_not(ledger):
    first, second, held, unwanted = (new_study(ledger, number=number).id for number in range(4))
    ledger.acquire_lease(held, "launch", "somebody", 60.0)
    ledger.request_cancel(unwanted)
    version = ledger.study_head(first).version
    assert ledger.explain_waiting("waits: 50 % of it") == 2
    assert ledger.explain_waiting("waits: 50 % of it") == 0
    assert ledger.study_head(first).version == version + 1
    assert ledger.explain_waiting("another", study_id=second) == 1
    assert ledger.explain_waiting("", where="waits: 50_%") == 0, "no pattern"
    assert ledger.explain_waiting("", where="waits: 50 %") == 1
    reasons = [ledger.study_head(study_id).reason for study_id in (first, second, held, unwanted)]
    assert reasons == ["", "another", "", "cancelled before it ran"]

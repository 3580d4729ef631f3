"""The queue: priority, then age; nothing that is launched, driven, final or to be cancelled."""

import time

from sqlalchemy import update

from schemas.trials import TrialState
from tests.ledger.making import TTL_S, new_study
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

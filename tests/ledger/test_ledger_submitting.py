"""Submitting: once per idempotency key, within the key's quota, however many do so at once."""

import pytest

from schemas.errors import IdempotencyConflict, QuotaExceeded
from schemas.trials import TrialState
from tests.ledger.making import at_once, finish, new_study, new_trials, planned, with_steps
from workers.ledger.inputs import Idempotency, Quota
from workers.ledger.rows import Usage

BODY, OTHER_BODY = "a" * 64, "b" * 64


def test_the_same_key_and_body_give_the_study_made_before(ledger):
    first = new_study(ledger, owner="a", idempotency=Idempotency("key", BODY))
    again = new_study(ledger, owner="a", idempotency=Idempotency("key", BODY))
    assert again == first
    assert (first.replayed, again.replayed) == (False, True)
    assert len(ledger.list_studies()[0]) == 1


def test_the_study_given_again_is_as_it_is_now(ledger):
    first = new_study(ledger, idempotency=Idempotency("key", BODY))
    ledger.request_cancel(first.id)
    assert new_study(ledger, idempotency=Idempotency("key", BODY)).state == TrialState.CANCELLED


def test_the_same_key_with_another_body_is_refused_and_makes_nothing(ledger):
    first = new_study(ledger, idempotency=Idempotency("key", BODY))
    with pytest.raises(IdempotencyConflict, match=first.id):
        new_study(ledger, idempotency=Idempotency("key", OTHER_BODY))
    with pytest.raises(IdempotencyConflict):
        ledger.replayed("local", Idempotency("key", OTHER_BODY))
    assert len(ledger.list_studies()[0]) == 1


def test_keys_of_different_owners_do_not_meet(ledger):
    mine = new_study(ledger, owner="a", idempotency=Idempotency("key", BODY))
    theirs = new_study(ledger, owner="b", idempotency=Idempotency("key", OTHER_BODY))
    assert mine.id != theirs.id
    assert ledger.replayed("a", Idempotency("key", BODY)) == mine
    assert ledger.replayed("c", Idempotency("key", BODY)) is None


def test_a_submission_that_failed_leaves_its_key_free(ledger):
    with pytest.raises(ValueError, match="allowed exactly total=5"):
        ledger.create_study(
            name="x", spec={}, spec_hash="h", trials=new_trials(4), total=5, idempotency=Idempotency("key", BODY)
        )
    assert not new_study(ledger, idempotency=Idempotency("key", OTHER_BODY)).replayed


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x00b"])
def test_a_key_that_cannot_be_kept_is_refused(key):
    with pytest.raises(ValueError, match="allowed 1 to 255"):
        Idempotency(key, BODY)


@pytest.mark.slow
def test_of_many_at_once_with_one_key_one_makes_the_study_and_all_get_it(ledger):
    studies = at_once(8, lambda i: new_study(ledger, 40, idempotency=Idempotency("key", BODY)))
    assert len({study.id for study in studies}) == 1
    assert sum(not study.replayed for study in studies) == 1
    assert len(ledger.list_studies()[0]) == 1
    assert ledger.counts(studies[0].id)["queued"] == 40


@pytest.mark.slow
def test_of_many_at_once_with_one_key_and_two_bodies_one_body_wins(ledger):
    def submit(i):
        try:
            return new_study(ledger, 20, idempotency=Idempotency("key", (BODY, OTHER_BODY)[i % 2])).id
        except IdempotencyConflict:
            return None

    ids = at_once(8, submit)
    assert ids.count(None) == 4
    assert len(set(ids) - {None}) == len(ledger.list_studies()[0]) == 1


def test_usage_is_what_is_unfinished_of_one_key(ledger):
    assert ledger.usage("k_a") == Usage(0, 0, 0, 0)
    new_study(ledger, key_id="k_b")
    study = new_study(ledger, trials=with_steps(new_trials(4), 100), key_id="k_a")
    assert (study.steps, study.steps_unfinished) == (400, 400)
    assert ledger.usage("k_a") == Usage(1, 0, 4, 400)


def test_usage_falls_as_trials_become_final(ledger):
    study_id, fence, pack_ids = planned(ledger, key_id="k_a", trials=with_steps(new_trials(4), 100))
    ledger.set_study_state(study_id, TrialState.RUNNING, fence=fence)
    finish(ledger, study_id, fence, pack_ids[:1])
    assert ledger.usage("k_a") == Usage(0, 1, 2, 200)
    ledger.set_study_state(study_id, TrialState.CANCELLED, fence=fence)
    assert ledger.usage("k_a") == Usage(0, 0, 0, 0)
    study = ledger.continue_study(study_id)
    assert (study.steps, study.steps_unfinished) == (400, 200)
    assert ledger.usage("k_a") == Usage(1, 0, 2, 200)


QUOTAS = {
    "studies_queued": (Quota(studies_queued=2), 2),
    "trials_unfinished": (Quota(trials_unfinished=11), 2),
    "steps_unfinished": (Quota(steps_unfinished=400), 1),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_a_study_beyond_the_quota_is_refused_whole(ledger, name):
    quota, fit = QUOTAS[name]
    for _ in range(fit):
        new_study(ledger, trials=with_steps(new_trials(4), 100), key_id="k_a", quota=quota)
    with pytest.raises(QuotaExceeded, match=f"{name}: got .* wait until some of it is done") as refused:
        new_study(ledger, trials=with_steps(new_trials(4), 100), key_id="k_a", quota=quota)
    assert refused.value.can_ever_fit
    assert (refused.value.quota, len(ledger.list_studies()[0])) == (name, fit)
    new_study(ledger, trials=with_steps(new_trials(4), 100), key_id="k_b", quota=quota)


def test_a_study_that_is_larger_than_the_quota_can_never_fit(ledger):
    with pytest.raises(QuotaExceeded, match=r"got 0 \+ 4, allowed 3; split the study") as refused:
        new_study(ledger, 4, quota=Quota(trials_unfinished=3))
    assert not refused.value.can_ever_fit


def test_a_replay_is_answered_when_the_quota_is_used_up(ledger):
    first = new_study(ledger, quota=Quota(studies_queued=1), idempotency=Idempotency("key", BODY))
    assert new_study(ledger, quota=Quota(studies_queued=1), idempotency=Idempotency("key", BODY)) == first


@pytest.mark.slow
def test_many_at_once_do_not_exceed_a_quota_together(ledger):
    def submit(i):
        try:
            return new_study(ledger, 20, key_id="k_a", quota=Quota(studies_queued=3)).id
        except QuotaExceeded:
            return None

    assert at_once(8, submit).count(None) == 5
    assert ledger.usage("k_a").num_queued == 3

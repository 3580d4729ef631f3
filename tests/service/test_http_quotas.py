"""Quotas of a key: 429 where waiting helps, 422 where it never will; each key of an owner has its own."""

import pytest

from service.settings import Quotas
from tests.service.serving import serving, study


def quotas(**more):
    return {"quotas": Quotas(**more), "retry_after_s": 17}


def submit(client, document=None):
    return client.post("/v1/studies", json=document or study())


def test_a_queue_that_is_full_is_a_429_until_a_study_leaves_it(open_ledger, places):
    with serving(open_ledger, places, **quotas(studies_queued=2)) as service, service.client() as client:
        first = submit(client).json()
        assert submit(client).status_code == 202
        refused = submit(client)
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
        assert refused.headers["retry-after"] == "17"
        assert refused.json()["errors"] == [{"field": "quota.studies_queued", "got": "2 + 1", "allowed": "at most 2"}]
        client.post(f"/v1/studies/{first['id']}:cancel")
        assert submit(client).status_code == 202


@pytest.mark.parametrize(("quota", "room"), [("trials_unfinished", 12), ("steps_unfinished", 12 * 20)])
def test_trials_and_steps_are_counted_over_all_unfinished_studies(open_ledger, places, quota, room):
    with serving(open_ledger, places, **quotas(**{quota: room})) as service, service.client() as client:
        assert submit(client).status_code == 202
        refused = submit(client)
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
        assert submit(client, study(1)).status_code == 202


@pytest.mark.parametrize(
    ("quota", "room"), [("trials_unfinished", 7), ("steps_unfinished", 8 * 20 - 1), ("studies_queued", 0)]
)
def test_what_never_fits_is_a_422_and_waits_for_nothing(open_ledger, places, quota, room):
    with serving(open_ledger, places, **quotas(**{quota: room})) as service, service.client() as client:
        refused = submit(client)
        assert (refused.status_code, refused.json()["code"]) == (422, "quota_never_fits")
        assert "retry-after" not in refused.headers
        assert refused.json()["errors"][0]["field"] == f"quota.{quota}"
        assert client.get("/v1/studies").json()["items"] == []


def test_a_study_far_over_the_quota_is_refused_before_it_is_expanded(open_ledger, places, monkeypatch):
    monkeypatch.setattr("service.accepting.expand_trials", None)
    with serving(open_ledger, places, **quotas(trials_unfinished=100)) as service, service.client() as client:
        assert submit(client, study(200_000)).json()["code"] == "quota_never_fits"


@pytest.mark.parametrize(
    ("quota", "room"), [("trials_unfinished", 15), ("steps_unfinished", 16 * 20 - 1), ("studies_queued", 1)]
)
def test_a_study_for_which_there_is_no_room_now_is_refused_before_it_is_expanded(
    open_ledger, places, monkeypatch, quota, room
):
    with serving(open_ledger, places, **quotas(**{quota: room})) as service, service.client() as client:
        assert submit(client).status_code == 202
        monkeypatch.setattr("service.accepting.expand_trials", None)
        refused = submit(client)
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert refused.json()["errors"][0]["field"] == f"quota.{quota}"


@pytest.mark.parametrize(("quota", "room"), [("trials_unfinished", 19), ("steps_unfinished", 20 * 20 - 1)])
def test_an_extension_for_which_there_is_no_room_now_is_refused_before_it_is_expanded(
    open_ledger, places, monkeypatch, quota, room
):
    with serving(open_ledger, places, **quotas(**{quota: room})) as service, service.client() as client:
        made = submit(client).json()
        assert submit(client, study(2, name="other")).status_code == 202
        monkeypatch.setattr("service.accepting.expand_trials", None)
        refused = client.post(f"/v1/studies/{made['id']}:extend", json=study(3))
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert refused.json()["errors"][0]["got"] == ("16 + 4" if quota == "trials_unfinished" else "320 + 80")


def test_a_plan_is_made_though_there_is_no_room_now(open_ledger, places):
    with serving(open_ledger, places, **quotas(trials_unfinished=8)) as service, service.client() as client:
        assert submit(client).status_code == 202
        assert client.post("/v1/studies:plan", json=study()).status_code == 200


def test_what_came_meanwhile_is_counted_when_the_study_is_made(open_ledger, places, monkeypatch):
    with serving(open_ledger, places, **quotas(trials_unfinished=8)) as service, service.client() as client:
        before = open_ledger.usage("of no key")
        assert submit(client).status_code == 202
        monkeypatch.setattr(service.ledger, "usage", lambda key_id: before)
        refused = submit(client)
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")


def test_each_key_has_a_quota_of_its_own_though_all_see_the_studies_of_their_owner(open_ledger, places):
    with serving(open_ledger, places, **quotas(studies_queued=1)) as service:
        one, two = (service.key("read", "submit", owner="team") for _ in range(2))
        with service.client(one) as first, service.client(two) as second:
            assert [submit(client).status_code for client in (first, second, first, second)] == [202, 202, 429, 429]
            assert len(second.get("/v1/studies").json()["items"]) == 2


def test_what_a_key_adds_to_a_study_counts_where_the_study_does(open_ledger, places):
    with serving(open_ledger, places, **quotas(trials_unfinished=8)) as service:
        one, two = (service.key("read", "submit", owner="team") for _ in range(2))
        with service.client(one) as first, service.client(two) as second:
            made = submit(first).json()
            assert second.post(f"/v1/studies/{made['id']}:extend", json=study(3)).status_code == 429
            assert submit(second).status_code == 202


def test_a_replay_is_answered_though_the_quota_is_used_up(open_ledger, places):
    with serving(open_ledger, places, **quotas(studies_queued=1)) as service, service.client() as client:
        headers = {"Idempotency-Key": "one"}
        first = client.post("/v1/studies", json=study(), headers=headers)
        assert client.post("/v1/studies", json=study(), headers=headers).content == first.content


def test_limits_of_a_study_are_settings_too(open_ledger, places):
    from schemas.limits import Limits

    with serving(open_ledger, places, limits=Limits(trials=4)) as service, service.client() as client:
        errors = submit(client).json()["errors"]
    assert errors == [{"field": "trials", "got": "8", "allowed": "at most 4"}]

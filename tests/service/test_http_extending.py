"""A study is extended over HTTP by whoever may submit and see it, once, within the quota."""

import pytest

from schemas.trials import TrialState
from service.settings import Quotas
from tests.ledger.making import drive, finish, packs_of
from tests.service.serving import STUDY_FIELDS, serving, study

KEY = {"Idempotency-Key": "extension-1"}


@pytest.fixture
def client(any_service):
    with any_service.client() as opened:
        yield opened


def submitted(client, document=None):
    return client.post("/v1/studies", json=document or study()).json()["id"]


def extend(client, study_id, document, **more):
    return client.post(f"/v1/studies/{study_id}:extend", json=document, **more)


def done(ledger, study_id):
    fence = drive(ledger, study_id)
    packs = packs_of(study_id, list(ledger.trials(study_id)))
    ledger.write_plan(study_id, 0, packs, fence, "cpu")
    ledger.set_study_state(study_id, TrialState.RUNNING, fence=fence)
    finish(ledger, study_id, fence, [pack.pack_id for pack in packs])
    ledger.set_study_state(study_id, TrialState.DONE, fence=fence)


def test_a_done_study_is_queued_again_with_what_is_new(any_service, client):
    study_id = submitted(client)
    done(any_service.ledger, study_id)
    answer = extend(client, study_id, study(4))
    body = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/studies/{study_id}")
    assert set(body) == STUDY_FIELDS | {"extension"}
    assert body["extension"] == {"round": 1, "num_new": 8}
    assert (body["state"], body["total"], body["counts"]["done"], body["counts"]["queued"]) == ("queued", 16, 8, 8)
    assert client.get(f"/v1/studies/{study_id}").json()["spec"]["seeds"] == {"count": 4}


def test_asking_again_adds_nothing(client):
    study_id = submitted(client)
    answers = [extend(client, study_id, study(3)).json() for _ in range(2)]
    assert [answer["extension"] for answer in answers] == [{"round": 1, "num_new": 4}, {"round": None, "num_new": 0}]
    assert answers[0]["version"] == answers[1]["version"]


def test_the_same_request_again_is_answered_the_same_whatever_has_become_of_the_study(any_service, client):
    study_id = submitted(client)
    first = extend(client, study_id, study(3), headers=KEY)
    any_service.ledger.request_cancel(study_id)
    again = extend(client, study_id, study(3), headers=KEY)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.json()["extension"] == {"round": 1, "num_new": 4}
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert client.get(f"/v1/studies/{study_id}").json()["state"] == "cancelled"


def test_a_request_that_added_nothing_is_remembered_too(any_service, client):
    study_id = submitted(client)
    first = extend(client, study_id, study(), headers=KEY)
    any_service.ledger.request_cancel(study_id)
    assert extend(client, study_id, study(), headers=KEY).content == first.content
    assert client.get(f"/v1/studies/{study_id}").json()["state"] == "cancelled"


def test_a_key_is_for_one_request(client):
    study_id, other = submitted(client), submitted(client)
    assert client.post("/v1/studies", json=study(), headers={"Idempotency-Key": "of-a-study"}).status_code == 202
    assert extend(client, study_id, study(3), headers=KEY).status_code == 202
    for refused in (
        extend(client, study_id, study(4), headers=KEY),
        extend(client, other, study(3), headers=KEY),
        extend(client, other, study(), headers={"Idempotency-Key": "of-a-study"}),
        client.post("/v1/studies", json=study(3), headers=KEY),
    ):
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")


def test_a_malformed_key_and_a_refused_extension_leave_everything_as_it_was(client):
    study_id = submitted(client)
    malformed = extend(client, study_id, study(3), headers={"Idempotency-Key": '"'})
    assert (malformed.status_code, malformed.json()["code"]) == (400, "idempotency_key_malformed")
    assert extend(client, study_id, study(1), headers=KEY).status_code == 422
    assert extend(client, study_id, study(3), headers=KEY).json()["extension"]["num_new"] == 4


def test_a_study_that_runs_is_a_conflict(any_service, client):
    study_id = submitted(client)
    fence = drive(any_service.ledger, study_id)
    any_service.ledger.set_study_state(study_id, TrialState.RUNNING, fence=fence)
    refused = extend(client, study_id, study(3))
    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
    assert "wait until it is done, or cancel it first" in refused.json()["detail"]


def test_a_spec_that_is_not_wider_is_refused_by_field(client):
    refused = extend(client, submitted(client), study(1))
    assert (refused.status_code, refused.json()["code"]) == (422, "spec_refused")
    wanted = {"field": "seeds", "got": "0", "allowed": "also 1: an extension holds every trial of the study"}
    assert refused.json()["errors"] == [wanted]


def test_others_studies_are_not_there_and_readers_may_not(any_service, client):
    study_id = submitted(client)
    with any_service.client() as other, any_service.client(any_service.key("read")) as reader:
        assert extend(other, study_id, study(3)).json()["code"] == "study_not_found"
        assert extend(reader, study_id, study(3)).status_code == 403
    assert client.get(f"/v1/studies/{study_id}").json()["total"] == 8


def test_only_what_is_new_counts_against_the_quota(open_ledger, places):
    quotas = Quotas(trials_unfinished=8)
    with serving(open_ledger, places, quotas=quotas) as service, service.client() as client:
        study_id = submitted(client)
        assert extend(client, study_id, study(3)).status_code == 429
        done(service.ledger, study_id)
        assert extend(client, study_id, study(5)).status_code == 422
        assert extend(client, study_id, study(4)).status_code == 202

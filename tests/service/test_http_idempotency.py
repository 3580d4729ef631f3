"""Submitting twice with one Idempotency-Key makes one study, and is answered alike, whatever has become of it."""

import threading

import pytest

from tests.ledger.making import drive
from tests.service.serving import study


@pytest.fixture
def client(any_service):
    with any_service.client() as opened:
        yield opened


def submit(client, key, document=None, **more):
    return client.post("/v1/studies", json=document or study(), headers={"Idempotency-Key": key}, **more)


def test_the_same_request_again_is_answered_the_same_and_makes_nothing(any_service, client):
    first = submit(client, "a-key")
    any_service.ledger.request_cancel(first.json()["id"])
    again = submit(client, "a-key")
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert len(client.get("/v1/studies").json()["items"]) == 1


def test_a_study_that_runs_is_still_answered_as_it_was_submitted(any_service, client):
    first = submit(client, "a-key")
    drive(any_service.ledger, first.json()["id"])
    assert submit(client, "a-key").content == first.content


def test_another_body_or_priority_under_the_same_key_is_a_422(client):
    submit(client, "a-key")
    for response in (submit(client, "a-key", study(name="other")), submit(client, "a-key", params={"priority": 1})):
        assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")


def test_keys_are_of_their_owner(any_service, client):
    first = submit(client, "shared")
    with any_service.client() as other:
        assert submit(other, "shared").json()["id"] != first.json()["id"]


@pytest.mark.parametrize("key", ["", "a b", "a" * 256, "a\tb", "caf\xe9"])
def test_a_malformed_key_is_a_400(client, key):
    response = client.post("/v1/studies", json=study(), headers=[(b"Idempotency-Key", key.encode("latin-1"))])
    assert (response.status_code, response.json()["code"]) == (400, "idempotency_key_malformed")


def test_two_keys_are_malformed(client):
    headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    assert client.post("/v1/studies", json=study(), headers=headers).json()["code"] == "idempotency_key_malformed"


def test_the_longest_key_is_fine(client):
    assert submit(client, "~" * 255).status_code == 202


def test_a_refused_study_does_not_use_its_key_up(client):
    assert submit(client, "a-key", study() | {"seeds": {"count": 0}}).status_code == 422
    assert submit(client, "a-key").status_code == 202


def test_a_key_whose_first_request_goes_on_is_a_409(service, client, monkeypatch):
    entered, may_end = threading.Event(), threading.Event()
    plain = service.ledger.replayed

    def slow(owner, idempotency):
        entered.set()
        assert may_end.wait(20)
        return plain(owner, idempotency)

    monkeypatch.setattr(service.ledger, "replayed", slow)
    with service.client() as caller:
        answers = []
        first = threading.Thread(target=lambda: answers.append(submit(caller, "a-key")))
        first.start()
        assert entered.wait(20)
        second = submit(caller, "a-key")
        may_end.set()
        first.join(20)
    assert (second.status_code, second.json()["code"]) == (409, "idempotency_key_in_flight")
    assert second.headers["retry-after"] == "1"
    assert answers[0].status_code == 202

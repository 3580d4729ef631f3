"""Submitting twice with one Idempotency-Key makes one study, and is answered alike, whatever has become of it."""

import threading

import pytest

from tests.ledger.making import drive
from tests.service.conftest import places_in
from tests.service.serving import serving, study
from workers.ledger import submitting
from workers.ledger.ledger import Ledger


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


def test_a_study_that_was_extended_is_still_answered_as_it_was_submitted(client):
    first = submit(client, "a-key")
    wider = client.post(f"/v1/studies/{first.json()['id']}:extend", json=study(4))
    assert wider.json()["steps"] == 2 * first.json()["steps"]
    assert submit(client, "a-key").content == first.content


def test_another_body_or_priority_under_the_same_key_is_a_422(client):
    submit(client, "a-key")
    for response in (submit(client, "a-key", study(name="other")), submit(client, "a-key", params={"priority": 1})):
        assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")


def test_keys_are_of_their_owner(any_service, client):
    first = submit(client, "shared")
    with any_service.client() as other:
        assert submit(other, "shared").json()["id"] != first.json()["id"]


@pytest.mark.parametrize(
    ("quoted", "same"), [('"a-key"', "a-key"), (r'"a\"b\\c"', 'a"b\\c'), ('"' + "q" * 255 + '"', "q" * 255)]
)
def test_a_key_means_the_same_quoted_and_plain(client, quoted, same):
    first = submit(client, quoted)
    again = submit(client, same)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["idempotency-replayed"] == "true"


def test_a_quoted_key_may_have_spaces(client):
    assert submit(client, '"two words"').json() == submit(client, '"two words"').json()
    assert submit(client, '"two  words"').status_code == 202


@pytest.mark.parametrize(
    "key",
    ["", "a b", "a" * 256, "a\tb", "caf\xe9", '"', '""', '"a', '"a"b"', r'"a\b"', '"a";q=1', '"' + "a" * 256 + '"'],
)
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


def test_of_two_processes_the_second_is_answered_as_the_first_and_makes_nothing(
    any_service, places_of_any, monkeypatch
):
    """Each has connections of its own and knows nothing of the other but what the ledger tells."""
    held, may_end = threading.Event(), threading.Event()
    plain = submitting.add_round

    def slow(*arguments):
        held.set()  # the transaction has the key, and the study is half written
        assert may_end.wait(20)
        return plain(*arguments)

    monkeypatch.setattr(submitting, "add_round", slow)
    key, answers = any_service.key("read", "submit"), {}
    with (
        Ledger.open(any_service.ledger.url) as ledger,
        serving(ledger, places_of_any) as other,
        any_service.client(key) as here,
        other.client(key) as there,
    ):
        first = threading.Thread(target=lambda: answers.update(first=submit(here, "one")))
        first.start()
        assert held.wait(20)
        second = threading.Thread(target=lambda: answers.update(second=submit(there, "one")))
        second.start()
        second.join(1.0)
        assert second.is_alive()  # neither a second study nor an answer before there is one
        assert there.get("/v1/studies").json()["items"] == []
        may_end.set()
        first.join(20)
        second.join(20)
        assert len(there.get("/v1/studies").json()["items"]) == 1
    assert [answers[name].status_code for name in ("first", "second")] == [202, 202]
    assert answers["first"].content == answers["second"].content
    assert answers["second"].headers["idempotency-replayed"] == "true"


@pytest.fixture
def places_of_any(tmp_path):
    return places_in(tmp_path)

"""GET /v1/studies/{id}/events: the stream as a client has it, over a real socket, on one replica or several."""

import asyncio
import json
import math
import subprocess
import sys
import time
from contextlib import ExitStack
from itertools import cycle, islice

import httpx
import pytest

from schemas.errors import PlaceError
from service.client.sse import read_messages
from tests.ledger.making import new_study
from tests.service.event_storm import commit, finish
from tests.service.serving import serving
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind


@pytest.fixture
def study_id(open_ledger):
    return new_study(open_ledger, owner="team").id


@pytest.fixture
def reader(service):
    with service.client(service.key("read", owner="team")) as client:
        yield client


def path(study_id):
    return f"/v1/studies/{study_id}/events"


def stream(client, study_id, **headers):
    return client.stream("GET", path(study_id), headers=headers)


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stream_has_the_ledgers_numbers_kinds_and_times(reader, open_ledger, study_id):
    commit(open_ledger, study_id, 3)
    finish(open_ledger, study_id)
    with stream(reader, study_id) as response:
        messages = list(read_messages(response.iter_bytes()))
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    rows = open_ledger.events(study_id)
    assert [(message.id, message.event) for message in messages] == [(str(row.seq), str(row.kind)) for row in rows]
    first = json.loads(messages[0].data)
    assert first["at"] == rows[0].at.isoformat().replace("+00:00", "Z")
    assert first == {"seq": 1, "at": first["at"], "kind": "study_created", "payload": {"name": "small", "total": 4}}


def test_what_is_not_finite_arrives_as_a_word(reader, open_ledger, study_id):
    with open_ledger.write_study(study_id) as work:
        work.event(EventKind.PUBLISHING, publishing="behind", loss=math.nan, most=math.inf, word="NaN")
    finish(open_ledger, study_id)
    with stream(reader, study_id, **{"Last-Event-ID": "1"}) as response:
        told = next(read_messages(response.iter_bytes()))
    assert json.loads(told.data)["payload"] == {
        "publishing": "behind",
        "loss": "NaN",
        "most": "Infinity",
        "word": "NaN",
    }


@pytest.mark.parametrize("asked", [{"headers": {"Last-Event-ID": "4"}}, {"params": {"after": "4"}}])
def test_a_stream_is_taken_up_behind_the_number_that_is_named(reader, open_ledger, study_id, asked):
    commit(open_ledger, study_id, 6)
    finish(open_ledger, study_id)
    with reader.stream("GET", path(study_id), **asked) as response:
        assert next(read_messages(response.iter_bytes())).id == "5"


def test_a_final_study_without_anything_new_is_a_204_so_that_a_browser_stops_asking(reader, open_ledger, study_id):
    finish(open_ledger, study_id)
    for number in (open_ledger.last_event_seq(study_id), 10**15):
        answer = reader.get(path(study_id), headers={"Last-Event-ID": str(number)})
        assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("number", ["x", "-1", "1.5", "٣", "9" * 40, "1 2"])
def test_a_number_that_is_none_is_refused_before_the_stream_begins(reader, study_id, number):
    answer = reader.get(path(study_id), headers={"Last-Event-ID": number.encode()})
    assert (answer.status_code, answer.json()["code"]) == (400, "last_event_id_malformed")


def test_a_parameter_that_is_no_number_or_unknown_is_refused(reader, study_id):
    for params in ({"after": "x"}, {"after": "-1"}, {"since": "4"}):
        assert reader.get(path(study_id), params=params).status_code == 422


def test_a_number_from_the_future_waits_for_it(reader, open_ledger, study_id):
    with stream(reader, study_id, **{"Last-Event-ID": "5"}) as response:
        assert response.status_code == 200
        commit(open_ledger, study_id, 8)
        assert next(read_messages(response.iter_bytes())).id == "6"


def test_the_api_says_what_an_event_is_without_references_that_lead_nowhere(service):
    described = service.app.openapi()
    operation = described["paths"]["/v1/studies/{study_id}/events"]["get"]
    said = operation["responses"]["200"]["content"]["text/event-stream"]["schema"]["description"]
    assert "#/components/schemas/StudyEvent" in said
    event = described["components"]["schemas"]["StudyEvent"]
    assert set(event["properties"]["kind"]["enum"]) == set(EventKind)
    assert "$ref" not in json.dumps(event)


def test_another_owners_study_is_not_there(service, study_id):
    with service.client(service.key("read", owner="others")) as client:
        answer = client.get(path(study_id))
        assert (answer.status_code, answer.json()["code"]) == (404, "study_not_found")
    with service.anonymous() as client:
        assert client.get(path(study_id)).status_code == 401


def test_a_silent_stream_says_that_it_is_alive(reader, study_id, monkeypatch):
    monkeypatch.setattr("service.live.KEEP_ALIVE_S", 0.05)
    with stream(reader, study_id, **{"Last-Event-ID": "1"}) as response:
        comments = (line for line in response.iter_lines() if line.startswith(": ping"))
        assert list(islice(comments, 3)) == [": ping"] * 3


def test_a_revoked_key_hears_no_more_though_its_study_goes_on(open_ledger, places, study_id):
    with serving(open_ledger, places, key_cache_s=0) as service:
        row, key = open_ledger.create_key("test", ["read"], "team")
        with service.client(key) as client, stream(client, study_id) as response:
            messages = read_messages(response.iter_bytes())
            assert next(messages).id == "1"
            open_ledger.revoke_key(row.id)
            commit(open_ledger, study_id, 3)
            assert next(messages, None) is None


def test_a_silent_stream_of_a_revoked_key_ends_at_the_next_sign_of_life(open_ledger, places, study_id, monkeypatch):
    monkeypatch.setattr("service.live.KEEP_ALIVE_S", 0.05)
    with serving(open_ledger, places, key_cache_s=0) as service:
        row, key = open_ledger.create_key("test", ["read"], "team")
        with service.client(key) as client, stream(client, study_id) as response:
            lines = (line for line in response.iter_lines() if line.startswith(": ping"))
            next(lines)
            open_ledger.revoke_key(row.id)
            assert len(list(islice(lines, 10))) < 10
        until(lambda: service.app.state.live.num_listeners == 0)


def test_a_stream_is_not_ended_because_the_keys_cannot_be_asked_for_now(service, reader, study_id, monkeypatch):
    monkeypatch.setattr("service.live.KEEP_ALIVE_S", 0.05)
    with stream(reader, study_id, **{"Last-Event-ID": "1"}) as response:
        pings = (line for line in response.iter_lines() if line.startswith(": ping"))
        next(pings)
        asked = []

        async def away(secret):
            asked.append(secret)
            raise PlaceError("the server is away")

        monkeypatch.setattr(service.app.state.keys, "principal", away)
        until(lambda: asked)
        assert len(list(islice(pings, 3))) == 3


def test_a_listener_that_leaves_is_noticed_though_nothing_happens(service, reader, study_id):
    live = service.app.state.live
    with stream(reader, study_id, **{"Last-Event-ID": "1"}):
        until(lambda: live.num_listeners == 1)
    until(lambda: live.num_listeners == 0, seconds=10.0)  # less than a keep-alive takes to fail


def test_a_listener_that_reads_nothing_and_leaves_is_noticed(service, reader, open_ledger, study_id, capsys):
    live = service.app.state.live
    with stream(reader, study_id) as response:
        received = response.iter_raw(1)
        next(received)
        with open_ledger.write_study(study_id) as work:
            for _ in range(4_000):  # more than the buffers of both ends hold
                work.event(EventKind.PUBLISHING, publishing="behind", reason="x" * 2_000)
        time.sleep(1)
        assert live.num_listeners == 1
    until(lambda: live.num_listeners == 0)
    assert "failed" not in capsys.readouterr().out  # it is no failure of the service


def test_too_many_streams_are_refused_with_when_to_come_again(service, reader, study_id, monkeypatch):
    monkeypatch.setattr("service.routes.events.MAX_LISTENERS", 0)
    answer = reader.get(path(study_id))
    assert (answer.status_code, answer.json()["code"]) == (503, "listeners_full")
    assert int(answer.headers["retry-after"]) > 0


async def _hop(client, urls, key, study_id, per_connection):
    """Every id that one client hears, changing the replica after some events each time."""
    seen, kind = [], ""
    for url in cycle(urls):
        headers = {"Authorization": f"Bearer {key}"} | ({"Last-Event-ID": str(seen[-1])} if seen else {})
        last = per_connection and len(seen) + per_connection
        async with client.stream("GET", url + path(study_id), headers=headers) as response:
            assert response.status_code == 200
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                kind = value if name == "event" else kind
                if name == "id":
                    seen.append(int(value))
                    if len(seen) == last or kind == "study_cancelled":
                        break
        if kind == "study_cancelled":
            return seen
    raise AssertionError("there is always another replica")


@pytest.mark.parametrize("num_events", [100, pytest.param(2_000, marks=pytest.mark.proof)])
def test_listeners_hear_a_storm_of_another_process_whole_on_whichever_replica(any_service, places, num_events):
    """Two replicas on one ledger, a third process that commits, listeners that stay and listeners that hop."""
    with ExitStack() as opened:
        ledgers = [opened.enter_context(Ledger.open(any_service.ledger.url)) for _ in range(2)]
        replicas = [opened.enter_context(serving(ledger, places)) for ledger in ledgers]
        study_id = new_study(ledgers[0], owner="team").id
        key = replicas[0].key("read", owner="team")
        for replica in replicas:  # FastAPI builds a route at its first request, which two threads may not do at once
            with replica.client(key) as client:
                assert client.get(path("0" * 16)).status_code == 404
        command = [sys.executable, "-m", "tests.service.event_storm", ledgers[0].url, study_id, str(num_events)]
        writer = subprocess.Popen(command)

        async def all_of_them():
            urls = [replica.url for replica in replicas]
            async with httpx.AsyncClient(timeout=30.0, trust_env=False, verify=False) as client:
                hops = [
                    _hop(
                        client,
                        urls[i % 2 :] + urls[: i % 2],
                        key,
                        study_id,
                        (num_events // 15, num_events // 5, 0)[i % 3],
                    )
                    for i in range(12)
                ]
                return await asyncio.wait_for(asyncio.gather(*hops), 120)

        told = asyncio.run(all_of_them())
        assert writer.wait(30) == 0
        last = ledgers[0].last_event_seq(study_id)
        assert last > num_events
        assert told == [list(range(1, last + 1))] * 12
        until(lambda: all(replica.app.state.live.num_listeners == 0 for replica in replicas))

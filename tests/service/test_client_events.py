"""How a stream of events is taken up again, by what servers and proxies may do to it."""

import json
from collections.abc import Callable, Iterator

import pytest
import stamina

from service.client import events
from service.client.errors import ApiError, ServerUnreachable, StrangeAnswer
from service.client.events import Follower
from service.client.transport import EVENT_STREAM, Transport
from tests.service.scripted_server import CUT, Script, answer, problem, scripted

OVER = answer(status="204 No Content", kind="", Content_Length="")
BUSY = answer(b"busy", status="503 X", kind="text/html")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(events, "PAUSE_FIRST_S", 0.01)
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


def stream(*seqs: int, cut: bytes = b"") -> bytes:
    """A stream that ends of its own after these events."""
    facts = ({"seq": seq, "at": "2026-01-01T00:00:00Z", "kind": "pack_progress", "payload": {}} for seq in seqs)
    text = "".join(f"id: {one['seq']}\ndata: {json.dumps(one)}\n\n" for one in facts)
    return answer(text.encode() + cut, kind=EVENT_STREAM)


def follow(script: Script, *, is_final: Callable[[], bool] = lambda: True, reconnect_s: float = 5.0) -> list[int]:
    transport = Transport(script.url, "key", timeout_s=5, retry_s=0)
    try:
        found = Follower(transport, "v1/x", after=0, is_final=is_final, reconnect_s=reconnect_s)
        return [event.seq for event in found]
    finally:
        transport.close()


def test_a_stream_that_a_proxy_ends_just_before_the_last_events_is_taken_up() -> None:
    with scripted(stream(1, 2), stream(3), OVER) as script:
        assert follow(script) == [1, 2, 3]
    assert [script.header("Last-Event-ID", index) for index in range(3)] == [None, "2", "3"]


def test_a_study_that_is_not_final_is_followed_on_however_often_its_stream_ends() -> None:
    answers = iter([False, False, True, True, True])
    with scripted(stream(1), stream(), stream(2), stream(3), OVER) as script:
        assert follow(script, is_final=lambda: next(answers)) == [1, 2, 3]


def test_an_event_that_comes_again_is_told_once() -> None:
    with scripted(stream(1, 2), stream(1, 2, 2, 3), OVER) as script:
        assert follow(script) == [1, 2, 3]


def test_a_gap_is_asked_for_again() -> None:
    with scripted(stream(1, 3), stream(2, 3), OVER) as script:
        assert follow(script) == [1, 2, 3]
    assert script.header("Last-Event-ID", 1) == "1"


def test_half_an_event_is_asked_for_again() -> None:
    with scripted(stream(1, cut=b'id: 2\ndata: {"seq": 2, "at"'), stream(2), OVER) as script:
        assert follow(script) == [1, 2]


@pytest.mark.parametrize("fault", [CUT, BUSY, problem(429, "listeners_full", Retry_After="0")])
def test_a_server_that_is_away_for_a_while_is_waited_for(fault: bytes) -> None:
    with scripted(stream(1), fault, fault, stream(2), OVER) as script:
        assert follow(script) == [1, 2]


@pytest.mark.parametrize("fault", [CUT, BUSY, problem(503, "stopping", Retry_After="5")])
def test_a_stream_that_the_server_ends_before_it_stops_is_taken_up_when_it_is_back(fault: bytes) -> None:
    """Whether the study is final nobody can tell meanwhile; that is no reason to give up."""
    final = answer({"state": "done"})
    with scripted(stream(1), fault, stream(2), final, OVER, final) as script:
        transport = Transport(script.url, "key", timeout_s=5, retry_s=0)

        def is_final() -> bool:
            return bool(transport.send("GET", "v1/x", may_repeat=True).json()["state"] == "done")

        found = Follower(transport, "v1/x", after=0, is_final=is_final, reconnect_s=5.0)
        assert [event.seq for event in found] == [1, 2]
        transport.close()


def test_whether_it_is_final_is_refused_for_good() -> None:
    refused = problem(404, "study_not_found")
    with scripted(stream(1), refused) as script:
        transport = Transport(script.url, "key", timeout_s=5, retry_s=0)

        def is_final() -> bool:
            return bool(transport.send("GET", "v1/x", may_repeat=True).json())

        with pytest.raises(ApiError, match="study_not_found"):
            list(Follower(transport, "v1/x", after=0, is_final=is_final, reconnect_s=5.0))
        transport.close()


@pytest.mark.parametrize("fault", [CUT, BUSY, stream(5)])
def test_a_server_that_stays_away_is_an_error_in_the_end(fault: bytes) -> None:
    with scripted(stream(1), fault) as script, pytest.raises((ServerUnreachable, ApiError)):
        follow(script, reconnect_s=0.3)


@pytest.mark.parametrize("data", ["nothing", "[]", '{"seq": "x"}'])
def test_a_stream_of_something_else_is_no_answer(data: str) -> None:
    strange = answer(f"data: {data}\n\n".encode(), kind=EVENT_STREAM)
    with scripted(strange) as script, pytest.raises(StrangeAnswer, match="holds something else"):
        follow(script)


def test_a_page_in_place_of_a_stream_is_no_answer() -> None:
    with scripted(answer(b"<html>", kind="text/html")) as script, pytest.raises(StrangeAnswer, match="text/html"):
        follow(script)

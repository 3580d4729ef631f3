"""`serve` ends when it is asked to, within ten seconds and without a traceback, whatever its callers are at."""

import json
import signal
import socket
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from schemas.presets import preset_text
from service.spec_files import parse_document
from tests.e2e.serving import ended_at_last, serve
from tests.service.serving import study

END_S = 10.0
COSH = parse_document(preset_text("cosh-wall"))  # needs no data, which an API alone does not publish
pytestmark = [pytest.mark.slow, pytest.mark.proof]


@pytest.fixture
def served(tmp_path):
    with ended_at_last(tmp_path / "home") as home, serve(home, "--workers", 1) as running:
        yield running


def ended(served, *numbers):
    """Seconds from the first of these signals to the end, which is one without an error."""
    began = time.monotonic()
    for number in numbers:
        served.process.send_signal(number)
        time.sleep(0.3)
    assert served.process.wait(60) == 0, served.said()
    assert "Traceback" not in served.said()
    return time.monotonic() - began


def request(served, method, path, length=0):
    key = (served.home / "serve.key").read_text().strip()
    head = [f"{method} {path} HTTP/1.1", "Host: here", f"Authorization: Bearer {key}"]
    head += ["Content-Type: application/json", f"Content-Length: {length}"] if length else []
    return "\r\n".join((*head, "", "")).encode()


def connected(served, sent):
    address = urlsplit(served.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=20)
    connection.sendall(sent)
    return connection


def rest_of(connection):
    """What is still to be read of it, to its end."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.mark.parametrize("numbers", [(signal.SIGTERM,), (signal.SIGTERM, signal.SIGTERM), (signal.SIGINT,) * 3])
def test_uploads_under_way_are_answered_that_it_stops(served, numbers):
    with ExitStack() as stack:
        head = request(served, "POST", "/v1/studies", 100_000)
        uploads = [stack.enter_context(connected(served, head + b" " * 100)) for _ in range(5)]
        time.sleep(0.5)
        assert ended(served, *numbers) < END_S
        for upload in uploads:
            answer = upload.recv(10_000)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b'"code":"stopping"' in answer


def test_listeners_are_let_go(tmp_path):
    with serve(tmp_path / "home", "--only", "api") as served, ExitStack() as stack:
        events = request(served, "GET", f"/v1/studies/{served.submit(COSH)}/events")
        listeners = [stack.enter_context(connected(served, events)) for _ in range(5)]
        begun = [listener.recv(10_000) for listener in listeners]
        assert all(b"text/event-stream" in answer for answer in begun)
        assert ended(served, signal.SIGTERM, signal.SIGTERM) < END_S
        for answer, listener in zip(begun, listeners, strict=True):
            whole = answer + rest_of(listener)
            assert whole.endswith(b"\r\n0\r\n\r\n"), "a stream ends as a whole answer, not as one cut off"
        assert '"level": "error"' not in served.said()


def test_a_study_that_takes_long_to_expand_is_not_waited_for(served):
    body = json.dumps(study(200_000)).encode()
    with connected(served, request(served, "POST", "/v1/studies:plan", len(body)) + body):
        time.sleep(1.0)
        assert ended(served, signal.SIGTERM, signal.SIGTERM) < END_S


def test_nothing_under_way_ends_at_once(served):
    assert ended(served, signal.SIGTERM) < 5.0

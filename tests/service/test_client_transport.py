"""One request: what is asked again, what is not, and what is said of answers that are none."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

from service.client import waiting
from service.client.client import Client
from service.client.errors import ApiError, ServerUnreachable, StrangeAnswer
from service.client.transport import Transport
from service.examples import examples
from tests.service.scripted_server import CUT, Script, answer, problem, scripted

BUSY = answer(b"<h1>502</h1>", status="502 Bad Gateway", kind="text/html")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


def ask(url: str, *, method: str = "GET", may_repeat: bool = True, retry_s: float = 5.0, timeout_s: float = 5.0) -> str:
    transport = Transport(url, "secret", timeout_s=timeout_s, retry_s=retry_s)
    try:
        return transport.send(method, "v1/x", may_repeat=may_repeat).text
    finally:
        transport.close()


def ask_of(*answers: bytes, **how: object) -> tuple[str, Script]:
    with scripted(*answers) as script:
        return ask(script.url, **how), script  # type: ignore[arg-type]


@pytest.mark.parametrize("first", [BUSY, CUT, answer({"whole": "no"}, Content_Length="100")])
def test_what_may_be_repeated_is_repeated_until_a_whole_answer_comes(first: bytes) -> None:
    text, script = ask_of(first, first, answer({"a": 1}))
    assert text == '{"a": 1}'
    assert len(script.requests) == 3


@pytest.mark.parametrize("first", [BUSY, CUT])
def test_what_may_not_be_repeated_is_sent_once(first: bytes) -> None:
    with scripted(first, answer({})) as script, pytest.raises((ApiError, ServerUnreachable)):
        ask(script.url, method="POST", may_repeat=False)
    assert len(script.requests) == 1


AWAY = [BUSY, CUT, problem(503, "ledger_unavailable", Retry_After="5")]


@pytest.mark.parametrize("fault", AWAY)
def test_a_study_is_waited_for_though_its_server_is_away_for_longer_than_a_request_is_repeated(
    fault: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_FIRST_S", 0.01)
    final = answer(examples()["get_study"]["application/json"] | {"state": "done"})
    with scripted(fault, fault, final) as script, Client(script.url, "key", retry_s=0) as client:
        assert client.wait("0" * 16).state == "done"


@pytest.mark.parametrize("fault", [*AWAY, problem(404, "study_not_found")])
def test_a_study_is_not_waited_for_for_ever(fault: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_FIRST_S", 0.01)
    with (
        scripted(fault) as script,
        Client(script.url, "key", retry_s=0) as client,
        pytest.raises((ApiError, ServerUnreachable)),
    ):
        client.wait("0" * 16, reconnect_s=0.05)


@pytest.mark.parametrize(("version", "num_requests"), [(None, 3), (7, 1)])
def test_a_cancel_of_one_version_is_sent_once_since_it_changes_the_version(
    version: int | None, num_requests: int
) -> None:
    with scripted(CUT, CUT, problem(404, "study_not_found")) as script, Client(script.url, "key", retry_s=5) as client:
        with pytest.raises((ApiError, ServerUnreachable)):
            client.cancel("0" * 16, version=version)
        assert len(script.requests) == num_requests


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 422, 500])
def test_an_answer_that_would_be_the_same_again_is_not_asked_for_again(status: int) -> None:
    with scripted(problem(status, "some_code", "why")) as script, pytest.raises(ApiError) as error:
        ask(script.url)
    assert len(script.requests) == 1
    assert (error.value.status, error.value.code, error.value.request_id) == (status, "some_code", "r_1")


def test_too_many_requests_are_asked_again_after_the_time_that_the_server_names() -> None:
    begun = time.monotonic()
    ask_of(problem(429, "quota_exceeded", Retry_After="1"), answer({}))
    assert time.monotonic() - begun >= 1.0


@pytest.mark.parametrize("headers", [{}, {"Retry_After": "3600"}])
def test_a_quota_that_stays_used_up_is_told_at_once(headers: dict[str, str]) -> None:
    with scripted(problem(429, "quota_exceeded", "20 of 20 studies queued", **headers)) as script:
        with pytest.raises(ApiError, match="20 of 20 studies queued"):
            ask(script.url)
        assert len(script.requests) == 1


def test_the_fields_of_a_refusal_come_as_problems() -> None:
    fields = [{"field": "seeds.count", "got": "0", "allowed": "at least 1"}, "no problem"]
    with scripted(problem(422, "spec_refused", "1 problem", errors=fields)) as script, pytest.raises(ApiError) as error:
        ask(script.url)
    assert [str(one) for one in error.value.errors] == ["seeds.count: got 0, allowed at least 1"]


def test_what_a_server_says_cannot_steer_the_terminal() -> None:
    with scripted(problem(409, "x", "a\x1b[2Jb\nc")) as script, pytest.raises(ApiError) as error:
        ask(script.url)
    assert "a [2Jb c" in str(error.value)


def test_a_proxys_error_page_is_told_from_the_servers_own_words() -> None:
    with scripted(BUSY) as script, pytest.raises(ApiError) as error:
        ask(script.url, retry_s=0)
    assert error.value.code == "http_502"
    assert "502 Bad Gateway with text/html: not warmup-bench's own words" in str(error.value)


def test_a_page_where_json_was_asked_for_is_no_answer() -> None:
    with scripted(answer(b"<html>log in</html>", kind="text/html; charset=utf-8")) as script:
        with pytest.raises(StrangeAnswer, match="answers text/html where application/json was asked for; a proxy"):
            ask(script.url)
        assert len(script.requests) == 1


def test_the_key_is_not_carried_to_where_a_server_sends_on() -> None:
    with scripted(answer({})) as other, scripted(answer(status="302 X", Location=other.url)) as script:
        with pytest.raises(StrangeAnswer, match=f"sends on to {other.url}"):
            ask(script.url)
        assert other.requests == []


def test_a_server_that_is_not_there_is_named_with_what_to_do() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(ServerUnreachable, match=r"cannot be reached \(Connection refused\); start one") as error:
            ask(url, retry_s=0)
    assert not error.value.may_have_acted


def test_a_server_that_says_nothing_is_given_up_and_may_have_acted() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ServerUnreachable, match="silent too") as error,
    ):
        ask(f"http://127.0.0.1:{silent.getsockname()[1]}", retry_s=0, timeout_s=0.2)
    assert error.value.may_have_acted


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert ask_of(answer({}))[0] == "{}"


def test_a_certificate_that_nobody_vouches_for_is_said_once(tmp_path: Path) -> None:
    subject = ["-subj", "/CN=127.0.0.1", "-days", "1", "-keyout", "key.pem", "-out", "cert.pem"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as server:
        shaken = threading.Thread(target=_shake_hands, args=(server, context))
        shaken.start()
        with pytest.raises(ServerUnreachable, match=r"its certificate is not trusted .*SSL_CERT_FILE") as error:
            ask(f"https://127.0.0.1:{server.getsockname()[1]}")
        shaken.join()
    assert not error.value.is_transient


def _shake_hands(server: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = server.accept()
    with pytest.raises(ssl.SSLError), connection:
        context.wrap_socket(connection, server_side=True)


def test_a_server_without_tls_is_told_from_one_with_a_wrong_certificate() -> None:
    with scripted(answer({})) as script, pytest.raises(ServerUnreachable, match="does the server speak http"):
        ask(script.url.replace("http:", "https:"))

"""Whatever goes wrong is answered in one shape, with a stable code and the request's id, and gives nothing away."""

import gzip
import http.client
import json
import re
import socket
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from schemas.errors import PlaceError
from service.codes import Code
from tests.e2e.commands import wait_for
from tests.service.serving import serving, study

KEYS = {"type", "title", "status", "detail", "code", "request_id"}
JSON = {"Content-Type": "application/json"}


def problem(response, status, code):
    """The document of a refusal, which is whole and says the same as its status line."""
    document = response.json()
    assert (response.status_code, document["code"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert KEYS <= set(document) <= KEYS | {"errors"}
    assert document["type"] == f"urn:warmup-bench:problem:{code}"
    assert document["status"] == status == Code(code).status
    assert document["title"] == Code(code).heading
    assert document["request_id"] == response.headers["x-request-id"]
    return document


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/nothing", "/v1/studies/", "/docs", "/v1/studies/x:y", "//v1/studies"]
)
def test_an_unknown_route_is_a_404(client, path):
    problem(client.get(path), 404, "route_not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/studies", "GET, HEAD, POST"),
        ("GET", "/v1/studies:plan", "POST"),
        ("GET", f"/v1/studies/{'0' * 16}:cancel", "POST"),
        ("DELETE", f"/v1/studies/{'0' * 16}", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("BREW", "/v1/studies", "GET, HEAD, POST"),
        ("HEAD", "/v1/studies:plan", "POST"),
        ("HEAD", f"/v1/studies/{'0' * 16}/events", "GET"),
    ],
)
def test_another_method_is_a_405_that_says_which_there_are(client, method, path, allow):
    response = client.request(method, path)
    assert response.status_code == 405
    if method != "HEAD":
        problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == allow


def test_head_is_get_without_the_body(client):
    study_id = client.post("/v1/studies", json=study()).json()["id"]
    for path in (
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/studies",
        f"/v1/studies/{study_id}",
        f"/v1/studies/{study_id}/trials",
        "/v1/catalog",
        "/v1/presets/quickstart",
        f"/v1/studies/{'0' * 16}",
    ):
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["content-type"] == got.headers["content-type"]
        if path != "/metrics":  # which counts the request before
            assert head.headers["content-length"] == str(len(got.content))
    etag = client.head(f"/v1/studies/{study_id}").headers["etag"]
    assert client.head(f"/v1/studies/{study_id}", headers={"If-None-Match": etag}).status_code == 304


def test_head_needs_a_key_as_get_does_and_is_logged_as_what_it_is(service):
    with capture_logs() as logs, service.anonymous() as caller:
        refused = caller.head("/v1/studies")
        # An answer may arrive before its line is written.
        wait_for(lambda: any(line["event"] == "request" for line in logs), "the line", 10.0)
    assert (refused.status_code, refused.content) == (401, b"")
    assert [line["method"] for line in logs if line["event"] == "request"] == ["HEAD"]


@pytest.mark.parametrize("slash", ["%2f", "%2F"])
def test_an_encoded_slash_leads_to_no_other_route(client, slash):
    study_id = client.post("/v1/studies", json=study()).json()["id"]
    assert client.get(f"/v1/studies/{study_id}/trials").status_code == 200
    for path in (f"/v1/studies/{study_id}{slash}trials", f"/v1{slash}studies", f"/v1/presets/x{slash}..{slash}studies"):
        problem(client.get(path), 404, "route_not_found")
    assert client.get("/v1/studies", params={"name": "a/b"}).status_code == 200


@pytest.mark.parametrize(
    ("path", "name", "count"),
    [
        ("/v1/studies?limit=1&limit=2", "limit", 2),
        ("/v1/studies?state=done&state=done&state=done", "state", 3),
        ("/v1/presets?limit=1&limit=1", "limit", 2),
        (f"/v1/studies/{'0' * 16}/trials?state=done&state=queued", "state", 2),
        (f"/v1/studies/{'0' * 16}/events?after=1&after=2", "after", 2),
        (f"/v1/trials/{'0' * 64}/records?table=steps&table=probes", "table", 2),
    ],
)
def test_a_parameter_that_is_there_twice_is_refused(client, path, name, count):
    errors = problem(client.get(path), 422, "invalid_parameter")["errors"]
    assert errors == [{"field": name, "got": f"{count} values", "allowed": "one"}]


def test_a_priority_that_is_there_twice_queues_nothing(client):
    problem(client.post("/v1/studies?priority=1&priority=2", json=study()), 422, "invalid_parameter")
    assert client.get("/v1/studies").json()["items"] == []


@pytest.mark.parametrize(("kind", "key"), [("json", '{"seeds": '), ("yaml", "{seeds: ")])
def test_an_integer_of_thousands_of_digits_is_refused_in_our_own_words(client, kind, key):
    body = f"{key}{'9' * 5_000}}}"
    refused = client.post("/v1/studies", content=body, headers={"Content-Type": f"application/{kind}"})
    (error,) = problem(refused, 422, "spec_refused")["errors"]
    assert "digits" in error["got"]
    assert "set_int_max_str_digits" not in refused.text
    assert "conversion" not in refused.text


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nBad Header: 1\r\n\r\n",
        b"\x16\x03\x01\x00\xff\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_the_same_shape(service, sent):
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(sent)
        response = http.client.HTTPResponse(connection)
        response.begin()
        document = json.loads(response.read())
    assert (response.status, response.headers["content-type"]) == (400, "application/problem+json")
    assert set(document) == KEYS
    assert document["code"] == "bad_request"
    assert document["request_id"] == response.headers["x-request-id"]
    assert response.headers["connection"] == "close"
    with service.anonymous() as caller:
        assert caller.get("/healthz").status_code == 200


def test_a_body_that_breaks_its_chunks_does_no_harm(service):
    address = urlsplit(service.url)
    head = f"POST /v1/studies HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {service.key()}\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        connection.sendall(b"no length\r\n")
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert (response.status, json.loads(response.read())["code"]) == (400, "bad_request")
    with service.anonymous() as caller:
        assert caller.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "", "application/json; charset=utf-16", "multipart/form-data"]
)
def test_a_body_of_another_type_is_a_415(client, kind):
    response = client.post("/v1/studies", content=json.dumps(study()), headers={"Content-Type": kind})
    problem(response, 415, "media_type_unsupported")
    assert "application/json" in response.headers["accept"]


def test_a_charset_of_utf_8_is_fine(client):
    headers = {"Content-Type": 'Application/JSON; charset="UTF-8"'}
    assert client.post("/v1/studies", content=json.dumps(study()), headers=headers).status_code == 202


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "gzip, identity"])
def test_a_compressed_body_is_a_415(client, encoding):
    body = gzip.compress(json.dumps(study()).encode())
    response = client.post("/v1/studies", content=body, headers=JSON | {"Content-Encoding": encoding})
    problem(response, 415, "encoding_unsupported")
    assert response.headers["accept-encoding"] == "identity"


def test_a_body_that_is_said_to_be_too_large_is_a_413(open_ledger, places):
    with serving(open_ledger, places, max_body_bytes=5_000) as service, service.client() as client:
        assert client.post("/v1/studies", json=study()).status_code == 202
        problem(client.post("/v1/studies", content=b" " * 5_001, headers=JSON), 413, "body_too_large")


def test_a_body_in_chunks_is_a_413_as_soon_as_it_is_too_large(open_ledger, places):
    sent = []

    def endless():
        for _ in range(10_000):
            sent.append(b" " * 1_000)
            yield sent[-1]

    with serving(open_ledger, places, max_body_bytes=5_000) as service, service.client() as client:
        problem(client.post("/v1/studies", content=endless(), headers=JSON), 413, "body_too_large")
        assert client.get("/v1/studies").status_code == 200


def test_chunks_that_fit_are_one_body(client):
    text = json.dumps(study()).encode()
    pieces = (text[start : start + 7] for start in range(0, len(text), 7))
    assert client.post("/v1/studies", content=pieces, headers=JSON).status_code == 202


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"3", b"null", b'{"a": 1, "a": 2}', b'{"a": NaN}', b"\xff", b"[" * 3000, b"9" * 5000]
)
def test_a_body_that_is_no_study_is_a_422(client, body):
    assert problem(client.post("/v1/studies", content=body, headers=JSON), 422, "spec_refused")["errors"]


def test_no_more_than_the_first_hundred_refused_fields_are_listed(client):
    refused = problem(client.post("/v1/studies", json=study() | {f"f{i}": 1 for i in range(150)}), 422, "spec_refused")
    assert len(refused["errors"]) == 100
    assert refused["detail"].startswith("150 problems: errors says field, got and allowed of the first 100")


def test_a_yaml_bomb_is_a_422(client):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    response = client.post("/v1/studies", content="\n".join(lines), headers={"Content-Type": "application/yaml"})
    problem(response, 422, "spec_refused")


def test_yaml_may_have_as_many_bytes_as_json(client):
    body = "# a long comment\n" * 58_000 + json.dumps(study())
    assert len(body) > 980_000
    response = client.post("/v1/studies", content=body, headers={"Content-Type": "application/yaml"})
    assert response.status_code == 202


def test_a_parameter_that_is_refused_is_named(client):
    errors = problem(client.get("/v1/studies?limit=0"), 422, "invalid_parameter")["errors"]
    assert errors == [{"field": "limit", "got": "'0'", "allowed": "greater than or equal to 1"}]


def test_what_nobody_foresaw_is_a_500_that_tells_nothing(service, client, monkeypatch):
    def broken(*_arguments, **_more):
        raise RuntimeError("secret in /home/somebody at postgresql://user:password@host")

    monkeypatch.setattr(service.ledger, "list_studies", broken)
    with capture_logs() as logs:
        response = client.get("/v1/studies", headers={"X-Request-ID": "trace-1"})
    problem(response, 500, "internal")
    assert not re.search("secret|somebody|password|RuntimeError", response.text)
    failed = [line for line in logs if line["event"] == "request failed"]
    assert len(failed) == 1
    assert client.get("/healthz").status_code == 200


def test_a_ledger_that_cannot_be_reached_is_a_503_that_names_no_place(service, client, monkeypatch):
    def away(*_arguments, **_more):
        raise PlaceError(f"ledger {service.ledger.place}: the server does not answer")

    client.get("/v1/studies")  # the key is known from now on
    monkeypatch.setattr(service.ledger, "list_studies", away)
    with capture_logs() as logs:
        response = client.get("/v1/studies")
    problem(response, 503, "ledger_unavailable")
    assert str(service.ledger.place) not in response.text
    assert response.headers["retry-after"] == "5"
    assert any(str(service.ledger.place) in str(line.get("error")) for line in logs)


def test_a_request_id_is_taken_over_where_it_is_harmless(client):
    assert (
        client.get("/healthz", headers={"X-Request-ID": "a.B-9_" + "z" * 58}).headers["x-request-id"]
        == "a.B-9_" + "z" * 58
    )


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a/b", "<script>", "caf\xe9", "a;b"])
def test_any_other_request_id_is_replaced(client, given):
    response = client.get("/v1/nothing", headers=[(b"X-Request-ID", given.encode("latin-1"))])
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])
    problem(response, 404, "route_not_found")


def test_the_log_has_request_id_key_and_study(client):
    with capture_logs(processors=[_with_context]) as logs:
        made = client.post("/v1/studies", json=study(), headers={"X-Request-ID": "trace-2"}).json()
        client.get(f"/v1/studies/{made['id']}", headers={"X-Request-ID": "trace-3"})
        # An answer may arrive before its line is written.
        wait_for(lambda: sum(line["event"] == "request" for line in logs) == 2, "two lines", 10.0)
    lines = {line["request_id"]: line for line in logs if line["event"] == "request"}
    assert lines["trace-2"]["study_id"] == lines["trace-3"]["study_id"] == made["id"]
    assert (lines["trace-2"]["route"], lines["trace-2"]["status"]) == ("/v1/studies", 202)
    assert lines["trace-3"]["route"] == "/v1/studies/{study_id}"
    assert lines["trace-3"]["key_id"].startswith("k_")


def _with_context(_logger, _method, event):
    import structlog

    return structlog.contextvars.merge_contextvars(_logger, _method, event)


def test_a_length_that_is_no_number_does_no_harm(service):
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=10)
    connection.putrequest("POST", "/v1/studies")
    connection.putheader("Content-Length", "abc")
    connection.endheaders()
    assert connection.getresponse().status == 400


def test_every_code_has_a_status_and_a_title():
    assert all(400 <= code.status < 600 and code.heading for code in Code)
    assert len({str(code) for code in Code}) == len(Code)

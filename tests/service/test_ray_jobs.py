"""The Jobs API as a client sees it: what is an answer, what is away, what is refused; addresses and tokens."""

import platform
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest

from schemas.errors import SpecError
from service import bounded_http
from service.bounded_http import LONGEST_ANSWER
from service.ray_address import RayAddress, read_ray_address
from service.ray_jobs import RayAway, RayJobs, RayRefused, connect
from tests.service.driving import Clock
from tests.service.fake_jobs_api import TOKEN, FakeCluster

URL = "http://ray-head:8265"


class Asked:
    """A client of a fake cluster."""

    def __init__(self, cluster: FakeCluster, token: str | None = TOKEN) -> None:
        self.cluster, self.clock = cluster, Clock()
        self.jobs = RayJobs(RayAddress(URL, token_value=token), self.clock, cluster.transport())

    def submit(self, name: str) -> bool:
        return self.jobs.submit(name, "true", {"warmup_driver": 1})


@pytest.fixture
def asked():
    return Asked(FakeCluster())


def test_the_fake_is_of_the_ray_that_is_installed():
    assert FakeCluster().ray_version == version("ray")


def test_a_job_is_submitted_once_and_told_when_it_was_there(asked):
    assert asked.submit("study-x-a1")
    assert not asked.submit("study-x-a1")
    assert asked.cluster.jobs["study-x-a1"].request == {
        "submission_id": "study-x-a1",
        "entrypoint": "true",
        "entrypoint_num_cpus": 0,
        "entrypoint_resources": {"warmup_driver": 1},
    }


def test_a_job_is_looked_at_and_stopped_and_an_unknown_one_is_neither_here_nor_there(asked):
    asked.submit("study-x-a1")
    job = asked.jobs.job("study-x-a1")
    assert (job.status, job.is_over, job.exit_code) == ("PENDING", False, None)
    asked.cluster.jobs["study-x-a1"].status = "RUNNING"
    assert asked.jobs.stop("study-x-a1")
    assert asked.jobs.job("study-x-a1").is_over
    assert asked.jobs.job("study-y-a1") is None
    assert not asked.jobs.stop("study-y-a1")


@pytest.mark.parametrize(
    "broken",
    [
        httpx.ConnectError("[Errno 111] Connection refused"),
        httpx.ConnectTimeout("timed out"),
        httpx.ReadTimeout("timed out"),
        httpx.RemoteProtocolError("Server disconnected"),
        (502, "Bad Gateway"),
        (503, ""),
        (500, "500 Internal Server Error\n\nServer got itself in trouble"),
        (500, "No available agent to submit job, please try again later."),
        (200, "x" * (LONGEST_ANSWER + 1)),
    ],
)
def test_whatever_is_no_answer_is_away_and_nothing_is_asked_for_a_while(asked, broken):
    asked.submit("study-x-a1")
    asked.cluster.broken = broken
    for ask in (asked.jobs.job, asked.jobs.stop, asked.submit):
        with pytest.raises(RayAway):
            ask("study-x-a1")
    num_asked = len(asked.cluster.asked)
    asked.cluster.broken = None
    with pytest.raises(RayAway):
        asked.jobs.job("study-x-a1")
    assert len(asked.cluster.asked) == num_asked, "one failure, and then none is asked"
    asked.clock.now += 1.1
    assert asked.jobs.job("study-x-a1") is not None
    assert ("GET", "/api/version") in asked.cluster.asked[num_asked:], "who is back is asked who it is"


def self_signed(folder: Path) -> Path:
    """A file with a key and a certificate of 127.0.0.1."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name, now = ec.generate_private_key(ec.SECP256R1()), x509.Name([]), datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 7, now - timedelta(1), now + timedelta(1))
    host = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = made.add_extension(host, critical=True).sign(key, hashes.SHA256())
    (file := folder / "certificate.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


def test_a_certificate_of_an_authority_of_ones_own_is_trusted_where_the_environment_names_it(tmp_path, monkeypatch):
    file = self_signed(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file)
    with FakeCluster().served(tls) as url:
        with pytest.raises(RayAway, match="certificate verify failed"):
            RayJobs(RayAddress(url, token_value=TOKEN), Clock()).check()
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        jobs = RayJobs(RayAddress(url, token_value=TOKEN), Clock())
        jobs.check()
        jobs.close()


@pytest.mark.parametrize("begins", [b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"])
def test_an_answer_that_drips_is_given_up_with_its_connection(begins, monkeypatch):
    monkeypatch.setattr(bounded_http, "LONGEST_S", 0.5)
    is_closed = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.recv(9999)
        with connection, suppress(OSError):
            connection.sendall(begins)
            for _ in range(50):
                connection.sendall(b"a")
                time.sleep(0.1)
            return
        is_closed.set()

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        dripping = thread.submit(lambda: drip(server.accept()[0]))
        jobs = RayJobs(RayAddress(f"http://127.0.0.1:{server.getsockname()[1]}"), Clock())
        began = time.monotonic()
        with pytest.raises(RayAway, match="an answer that does not end"):
            jobs.check()
        assert time.monotonic() - began < 4.0
        jobs.close()
        dripping.result()
    assert is_closed.is_set()


def test_the_waits_grow_up_to_a_limit_and_begin_anew(asked):
    asked.submit("study-x-a1")
    asked.cluster.broken = httpx.ConnectError("no")
    before = len(asked.cluster.asked)
    for _ in range(600):
        asked.clock.now += 0.5
        with pytest.raises(RayAway):
            asked.jobs.job("study-x-a1")
    assert 20 <= len(asked.cluster.asked) - before <= 26, "five minutes"


@pytest.mark.parametrize("token", [None, "another"])
def test_a_token_that_is_not_the_clusters_is_refused_in_words_without_it(token):
    with pytest.raises(RayRefused) as refused:
        Asked(FakeCluster(), token).jobs.check()
    assert "token" in str(refused.value)
    assert "another-" not in str(refused.value)
    assert "ray-head" not in refused.value.reason, "who reads a study is told no place"


def test_another_ray_and_what_is_no_ray_are_refused_at_first_and_when_a_head_was_replaced(asked):
    with pytest.raises(RayRefused, match=r"got Ray 2\.9\.0 there, Ray 2\.60\.0 here, allowed a Ray head"):
        Asked(FakeCluster(ray_version="2.9.0")).jobs.check()
    for answer in ((200, "<html>"), (200, "[]"), (200, "{}"), (404, "Not Found"), (302, "")):
        with pytest.raises(RayRefused):
            Asked(FakeCluster(broken=answer)).jobs.check()
    with pytest.raises(RayRefused, match=r"got Python 3\.9\.1 there, Python 3\.\S+ here, allowed a Ray head of this"):
        Asked(FakeCluster(python_version="3.9.1")).jobs.check()
    asked.submit("study-x-a1")
    asked.cluster.broken = (503, "")
    with pytest.raises(RayAway):
        asked.jobs.job("study-x-a1")
    asked.cluster.broken, asked.cluster.ray_version = None, "2.61.0"
    asked.clock.now += 2.0
    with pytest.raises(RayRefused):
        asked.submit("study-y-a1")


def test_pythons_are_told_apart_as_ray_does_it(monkeypatch):
    there = f"{platform.python_version().rpartition('.')[0]}.99"
    with pytest.raises(RayRefused, match=r"\.99 there"):
        Asked(FakeCluster(python_version=there)).jobs.check()
    monkeypatch.setenv("RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL", "minor")
    Asked(FakeCluster(python_version=there)).jobs.check()


@pytest.mark.parametrize("page", [(404, "404: Not Found"), (500, "oops"), (200, "<html>"), (200, '{"data": null}')])
def test_a_head_that_does_not_tell_its_python_leaves_that_to_the_driver(page):
    Asked(FakeCluster(metadata_page=page)).jobs.check()


def test_a_404_that_is_not_of_the_jobs_api_says_nothing_about_a_job(asked):
    asked.submit("study-x-a1")
    asked.cluster.broken = (404, "no such host here")
    with pytest.raises(RayAway):
        asked.jobs.job("study-x-a1")


def test_a_start_is_refused_by_a_cluster_that_answers_and_goes_on_without_one_that_does_not():
    said = []
    with FakeCluster().served() as url:
        with pytest.raises(SpecError, match=r"--ray-address \(WARMUP_BENCH_RAY_ADDRESS\): got .*Missing auth"):
            connect(RayAddress(url), Clock(), said.append)
        connect(RayAddress(url, token_value=TOKEN), Clock(), said.append).close()
        assert said == []
    connect(RayAddress(url, token_value=TOKEN), Clock(), said.append).close()
    (line,) = said
    assert url in line
    assert "check that its head runs" in line
    assert "studies stay queued until it answers" in line


@pytest.mark.parametrize(("there", "num_said"), [(None, 1), (TOKEN, 0)])
def test_a_token_that_the_cluster_asks_nobody_for_is_said(there, num_said):
    said = []
    with FakeCluster(token=there).served() as url:
        connect(RayAddress(url, token_value=TOKEN), Clock(), said.append).close()
        assert len(said) == num_said
        assert all(
            "asks nobody for a token" in line and "set RAY_AUTH_MODE=token on its nodes" in line for line in said
        )
        if there is None:
            connect(RayAddress(url), Clock(), said.append).close()
            assert len(said) == 1, "who sends none knows it"


def test_an_address_comes_from_the_flag_or_the_variable_and_a_token_from_its_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("abc\n")
    assert read_ray_address(None, {}) is None
    assert read_ray_address(None, {"WARMUP_BENCH_RAY_ADDRESS": ""}) is None
    plain = read_ray_address(f"{URL}/", {"WARMUP_BENCH_RAY_ADDRESS": "http://other:1"})
    assert (plain.url, plain.headers()) == (URL, {})
    with_token = {"WARMUP_BENCH_RAY_ADDRESS": URL, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(file)}
    address = read_ray_address(None, with_token)
    assert address.headers() == {"Authorization": "Bearer abc"}
    file.write_text("replaced")
    assert address.headers() == {"Authorization": "Bearer replaced"}
    by_value = read_ray_address(URL, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "xyz"})
    assert by_value.headers() == {"Authorization": "Bearer xyz"}
    assert read_ray_address(URL, {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": "xyz"}).headers() == {}


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "ray-head:8265",
            "ray://ray-head:10001",
            "ftp://h",
            "http://",
            "http://h:0",
            "http://h:x",
            "http://h:99999",
        ),
        *("http://user:secret@h:8265", "http://h/path", "http://h?q=1", "http://h#f", "http://h\n", "http://a b"),
    ],
)
def test_what_is_no_address_is_refused_without_its_password(url):
    with pytest.raises(SpecError, match="WARMUP_BENCH_RAY_ADDRESS") as refused:
        read_ray_address(url, {})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RAY_AUTH_MODE": "token"}, "RAY_AUTH_TOKEN_PATH: got nothing"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/nowhere"}, "No such file"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "{empty}"}, "an empty file"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "{binary}"}, "bytes that no token has"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "hush hush"}, "more than one word"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "hush", "RAY_AUTH_TOKEN_PATH": "{empty}"}, "one of the two"),
        ({"RAY_AUTH_TOKEN_PATH": "{empty}"}, "nothing while RAY_AUTH_MODE is not `token`"),
        ({"RAY_AUTH_TOKEN": "hush"}, "nothing while RAY_AUTH_MODE is not `token`"),
        ({"RAY_AUTH_MODE": "kerberos"}, "RAY_AUTH_MODE: got 'kerberos', allowed token or disabled"),
    ],
)
def test_a_token_that_cannot_be_sent_or_would_not_be_is_refused_at_the_start(tmp_path, environment, said):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    places = {"empty": tmp_path / "empty", "binary": tmp_path / "binary"}
    environment = {name: value.format(**places) for name, value in environment.items()}
    with pytest.raises(SpecError, match=said) as refused:
        read_ray_address(URL, environment)
    assert "hush" not in str(refused.value)


def test_a_token_file_that_is_gone_later_is_no_end_of_anything(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN)
    cluster, clock = FakeCluster(), Clock()
    jobs = RayJobs(RayAddress(URL, token_file=file), clock, cluster.transport())
    jobs.submit("study-x-a1", "true", {})
    file.unlink()
    with pytest.raises(RayRefused, match="no token that can be sent"):
        jobs.job("study-x-a1")
    file.write_text(TOKEN)
    clock.now += 2.0
    assert jobs.job("study-x-a1").status == "PENDING"

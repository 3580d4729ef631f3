"""What `serve` refuses, its lock, its port, its key, and what its process imports."""

import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from schemas.errors import PlaceRefused, SpecError
from service import serve as serve_module
from service.ray_address import RayAddress
from service.serve import ServeOptions
from tests.e2e.commands import COMMAND, environment
from workers.ledger.ledger import Ledger

ROOT = Path(__file__).parents[2]
DATABASE, RAY = "postgresql+psycopg://nobody@nowhere/x", RayAddress("http://ray-head:8265")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": "0.0.0.0"}, r"--host: got '0.0.0.0', allowed 127.0.0.1, ::1 or localhost.*TLS.*--database-url"),
        ({"host": "example.org"}, "--host"),
        ({"database_url": "x", "host": "0.0.0.0"}, "--database-url: got 'x://...', allowed postgresql"),
        ({"database_url": "sqlite:////x"}, "--database-url: got 'sqlite://...', allowed postgresql"),
        ({"database_url": "postgres://me:secret@h/x"}, "--database-url: got 'postgres://...', allowed postgresql"),
        ({"database_url": "postgresql+psycopg:///x", "names_records": False}, "--records: got none, allowed a folder"),
        ({"port": 65536}, "--port: got 65536"),
        ({"port": -1}, "--port: got -1"),
        ({"workers": 0}, "--workers: got 0"),
        ({"workers": 2, "max_running": 3}, "--max-running: got 3, allowed 1 to 2"),
        ({"workers": 2, "max_running": 0}, "--max-running: got 0"),
        (
            {"ray": RAY},
            r"--ray-address: got http://ray-head:8265, allowed with --database-url or WARMUP_BENCH_DATABASE_",
        ),
        ({"ray": RAY, "database_url": DATABASE, "max_running": 0}, "--max-running: got 0, allowed 1 or more"),
        (
            {"ray": RAY, "database_url": DATABASE, "only": "controller", "workers": 4},
            "--workers: got 4, allowed nothing beside --ray-address.*WARMUP_BENCH_MAX_TRAINERS",
        ),
        ({"ray": RAY, "database_url": DATABASE, "start_timeout_s": 0}, "--start-timeout-s: got 0, allowed 1 or more"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, said) -> None:
    with pytest.raises(SpecError, match=said):
        ServeOptions(**options).check()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_an_embedded_service_is_for_this_machine(host) -> None:
    ServeOptions(host=host).check()


def test_a_service_with_a_database_may_listen_anywhere() -> None:
    ServeOptions(host="0.0.0.0", database_url="postgresql+psycopg://nobody@nowhere/x").check()


def test_studies_that_run_at_a_time_have_a_trainer_each() -> None:
    assert ServeOptions(workers=1).num_running == 1
    assert ServeOptions(workers=8).num_running == 2
    assert ServeOptions(workers=8, max_running=5).num_running == 5


def test_studies_on_a_cluster_have_their_trainers_there() -> None:
    options = ServeOptions(workers=1, ray=RAY, database_url=DATABASE, max_running=50)
    options.check()
    assert options.num_running == 50
    assert ServeOptions(workers=1, ray=RAY).num_running == 8


def test_a_home_is_served_once_and_again_when_that_one_has_ended(tmp_path) -> None:
    with serve_module._only_one(tmp_path) as note:
        note("http://127.0.0.1:1")
        said = rf"is served already by process {os.getpid()} at http://127.0.0.1:1; stop that one, or name another home"
        with pytest.raises(PlaceRefused, match=said), serve_module._only_one(tmp_path):
            pass
    with serve_module._only_one(tmp_path):
        pass


def test_what_a_killed_service_has_left_in_its_lock_is_no_obstacle(tmp_path) -> None:
    (tmp_path / serve_module.LOCK).write_text('{"pid": 1, "url": "http://127.0.0.1:1"}')
    with serve_module._only_one(tmp_path):
        assert f'"pid": {os.getpid()}' in (tmp_path / serve_module.LOCK).read_text()


def test_a_port_that_is_taken_is_refused_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(SpecError, match=rf"--port: got {port}, allowed .*in use.*--port 0"),
            serve_module._listening("127.0.0.1", port),
        ):
            pass


def test_the_address_is_one_that_can_be_asked() -> None:
    with serve_module._listening("127.0.0.1", 0) as listener:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", serve_module._url(listener))
    if socket.has_ipv6:
        with serve_module._listening("::1", 0) as listener:
            assert serve_module._url(listener).startswith("http://[::1]:")


@pytest.fixture
def said() -> list[str]:
    return []


def test_a_home_has_one_key_that_only_its_owner_may_read(tmp_path, said) -> None:
    with Ledger.open(tmp_path) as ledger:
        path = serve_module._embedded_key(ledger, tmp_path, said.append)
        secret = path.read_text().strip()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert ledger.key_by_secret(secret).scopes == {"read", "submit", "admin"}
        path.chmod(0o644)
        assert serve_module._embedded_key(ledger, tmp_path, said.append).read_text().strip() == secret
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert len(ledger.list_keys(10, None)[0]) == 1
    assert all(str(path) in line and secret not in line for line in said)


def test_a_key_that_was_revoked_is_replaced(tmp_path, said) -> None:
    with Ledger.open(tmp_path) as ledger:
        first = serve_module._embedded_key(ledger, tmp_path, said.append).read_text().strip()
        ledger.revoke_key(ledger.key_by_secret(first).id)
        second = serve_module._embedded_key(ledger, tmp_path, said.append).read_text().strip()
        assert ledger.key_by_secret(second) is not None
    assert any("is revoked" in line for line in said)


def test_the_process_imports_none_of_what_trains_tracks_or_draws() -> None:
    script = "import sys, service.serve; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not {"torch", "ray", "mlflow", "pandas", "scipy", "sklearn", "matplotlib", "plotly"} & loaded
    assert not [name for name in loaded if name.startswith(("workers.science", "workers.cluster"))]


@pytest.mark.slow
def test_it_speaks_at_once_and_refuses_with_status_two(tmp_path) -> None:
    arguments = [COMMAND, "serve", "--home", str(tmp_path / "home"), "--host", "0.0.0.0"]
    with subprocess.Popen(arguments, env=environment(), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        first = process.stderr.readline()
        used = psutil.Process(process.pid).cpu_times()  # not the time that passed, of which others have their share
        rest = process.stderr.read()
    assert used.user + used.system < 2.0
    assert first == f"warmup-bench: here, home {tmp_path / 'home'}\n"
    assert process.returncode == 2
    assert rest.startswith("error: --host: got '0.0.0.0'")
    assert not (tmp_path / "home").exists()

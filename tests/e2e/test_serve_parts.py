"""The parts of `serve` on their own: an API and a controller that share a Postgres; a Ray that nobody uses any more."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.commands import wait_for
from tests.e2e.serving import ended_at_last, processes_of_home, serve
from tests.e2e.specs import digits
from tests.ledger.conftest import postgres_server  # noqa: F401  # a fixture
from workers import marks
from workers.cluster import ray_host
from workers.ledger.ledger import Ledger
from workers.shared_ray import HostFacts, SharedRay, hold, host_lives

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def test_an_api_and_a_controller_meet_in_a_database(postgres_server, tmp_path: Path) -> None:  # noqa: F811
    url = postgres_server.get_uri()
    with Ledger.open(url) as ledger:
        _, key = ledger.create_key("test", ("read", "submit"), "team")
    flags = ("--database-url", url, "--records", tmp_path / "records", "--only")
    with ended_at_last(tmp_path / "runs") as home, serve(home, *flags, "controller", "--workers", "1") as runner:
        assert not (home / "serve.key").exists()
        assert not (home / "ledger.sqlite").exists()
        with serve(tmp_path / "answers", *flags, "api") as api:
            headers = {"Authorization": f"Bearer {key}"}
            with httpx.Client(base_url=api.url, headers=headers, timeout=30, trust_env=False) as client:
                made = client.post("/v1/studies", json=digits(20, num_seeds=1))
                assert made.status_code == 202, made.text
                place = f"/v1/studies/{made.json()['id']}"
                wait_for(lambda: client.get(place).json()["state"] == "done", f"the study; {runner.said()}")
                assert client.get(place).json()["counts"]["done"] == 8
                trial = client.get(f"{place}/trials?limit=1").json()["items"][0]["id"]
                rows = client.get(f"/v1/trials/{trial}/records?table=steps").json()["items"]
                assert [row["step"] for row in rows] == list(range(20))
                assert "all 8 trials done" in client.get(f"{place}/report", headers={"Accept": "text/plain"}).text
            assert api.stop() == 0
        assert runner.stop() == 0
        assert processes_of_home(home) == {}
        assert url not in runner.said()


START = "import sys, pathlib; from workers.shared_ray import SharedRay; SharedRay(pathlib.Path(sys.argv[1]), 1).use()"


def test_a_ray_whose_service_is_gone_lives_while_somebody_uses_it_and_ends_then(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with ended_at_last(home):
        subprocess.run([sys.executable, "-W", "ignore", "-c", START, str(home)], cwd=ROOT, check=True)
        (folder,) = (home / "ray").iterdir()
        with hold(folder):
            wait_for(lambda: HostFacts.read(folder), "the Ray to be up")
            time.sleep(ray_host.ORPHAN_IDLE_S + 2.0)
            assert host_lives(folder)
        wait_for(lambda: not list(marks.marked(marks.RAY, folder.name)), "the end of all its processes", 30)
        assert HostFacts.read(folder) is None
        assert not SharedRay(home, 1).take_over([])
        assert list((home / "ray").iterdir()) == [], "what it has left is removed by the next service"


def test_a_shared_ray_is_started_once_and_replaced_when_it_was_killed(tmp_path: Path) -> None:
    with ended_at_last(tmp_path) as home:
        shared = SharedRay(home, 1)
        first = shared.use()
        assert shared.use() is first
        wait_for(lambda: HostFacts.read(first.folder), "the Ray to be up")
        members = wait_for(lambda: _titled_agents(first.process.pid), "Ray's agents to have given themselves a title")
        assert members <= {process.pid for process in marks.marked(marks.RAY, first.folder.name)}
        first.process.kill()
        wait_for(lambda: not marks.lives(first.process), "its death")
        second = shared.use()
        assert second.folder != first.folder
        assert list(marks.marked(marks.RAY, first.folder.name)) == []
        shared.stop()
        assert processes_of_home(home) == {}


def _titled_agents(session: int) -> set[int]:
    """Every process of that session, told by the kernel, not by its mark, once two agents have their titles."""
    members = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == session and marks.lives(process):
                members[process.pid] = process.cmdline()[0].strip()
    return set(members) if {"ray::DashboardAgent", "ray::RuntimeEnvAgent"} <= set(members.values()) else set()

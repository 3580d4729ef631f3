"""The Ray that the drivers of a service share: kept while somebody uses it, ended then, replaced when it was killed."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.e2e.commands import wait_for
from tests.e2e.serving import ended_at_last, processes_of_home
from workers import marks
from workers.cluster import ray_host
from workers.shared_ray import PID, HostFacts, SharedRay, hold, host_lives

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.proof]


START = "import sys, pathlib; from workers.shared_ray import SharedRay; SharedRay(pathlib.Path(sys.argv[1]), 1).use()"


def test_a_ray_whose_service_is_gone_lives_while_somebody_uses_it_and_ends_then(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with ended_at_last(home):
        subprocess.run([sys.executable, "-W", "ignore", "-c", START, str(home)], cwd=ROOT, check=True)
        (folder,) = (home / "ray").iterdir()
        with hold(folder):
            wait_for(lambda: HostFacts.read(folder), "the Ray to be up")
            up_at, host = time.monotonic(), int((folder / PID).read_text(encoding="utf-8"))
            members = wait_for(lambda: _titled_agents(host), "Ray's agents to have given themselves a title")
            assert members <= {process.pid for process in marks.marked(marks.RAY, folder.name)}
            time.sleep(max(0.0, up_at + ray_host.ORPHAN_IDLE_S + 1.0 - time.monotonic()))
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

"""A Ray that does not start is a Ray that is lost: nothing of it is left, and the next driver may have more luck."""

import subprocess

import psutil
import pytest

from workers import marks
from workers.cluster import local_ray
from workers.cluster.local_ray import LocalRay
from workers.cluster.ray_processes import RayLost


def test_a_ray_that_does_not_start_is_lost_and_nothing_of_it_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen] = []

    def slow(**_):
        started.append(subprocess.Popen(["sleep", "60"]))  # carries the mark, as what Ray starts does
        raise Exception("The current node timed out during startup.")

    monkeypatch.setenv(marks.RAY, "")  # to be put back
    monkeypatch.setattr(local_ray.ray, "init", slow)
    local = LocalRay(1, mark="a ray that is slow")
    try:
        with pytest.raises(RayLost, match=r"^Ray did not start$"):
            local.ready()
        assert not psutil.pid_exists(started[0].pid)
    finally:
        local.end()
        started[0].wait(10)

"""A Ray that has lost one of its vital processes is noticed without asking it, and nothing of it lives on."""

import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from workers import marks
from workers.cluster import ray_processes
from workers.cluster.ray_processes import RayLost, RayProcesses


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> RayProcesses:
    """Those of a "Ray" whose vital process is a `sleep`."""
    monkeypatch.setenv(marks.RAY, "")  # to be put back
    monkeypatch.setattr(ray_processes, "VITAL", ("sleep",))
    return RayProcesses()


@pytest.fixture
def vital(processes: RayProcesses) -> Iterator[subprocess.Popen]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_nothing_is_lost_before_it_was_found(processes: RayProcesses, vital: subprocess.Popen) -> None:
    vital.kill()
    vital.wait()
    processes.check()


def test_a_vital_process_that_was_killed_is_noticed_at_once(processes: RayProcesses, vital: subprocess.Popen) -> None:
    processes.found()
    processes.check()
    vital.kill()  # and not waited for: it is a zombie now
    time.sleep(0.1)
    began = time.monotonic()
    with pytest.raises(RayLost, match="sleep has ended"):
        processes.check()
    assert time.monotonic() - began < 3.0


def test_what_is_left_is_killed_however_deep_and_whoever_adopted_it(
    processes: RayProcesses, vital: subprocess.Popen
) -> None:
    # Its parent ends at once, so that it hangs nowhere below this process.
    said = subprocess.run(["sh", "-c", "tail -f /dev/null >&- 2>&- & echo $!"], capture_output=True, check=True)
    orphan = int(said.stdout)
    processes.found()
    stranger = subprocess.Popen(["tail", "-f", "/dev/null"])  # a publisher, say, that this process starts later
    vital.kill()
    vital.wait()
    with pytest.raises(RayLost):
        processes.check()
    assert not _runs(orphan)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_what_dead_drivers_left_is_ended_and_nothing_of_another_study_or_of_no_ray() -> None:
    def started(**mark: str) -> subprocess.Popen:
        return subprocess.Popen(["tail", "-f", "/dev/null"], env={"PATH": os.environ["PATH"], **mark})

    left = started(**{marks.STUDY: "mine", marks.RAY: "an older one"})
    others = [started(**{marks.STUDY: "another's", marks.RAY: "its"}), started(**{marks.STUDY: "mine"})]
    try:
        marks.end_rays_of_dead_drivers("mine")
        assert not _runs(left.pid)
        assert [process.poll() for process in others] == [None, None]
    finally:
        for process in (left, *others):
            process.kill()
            process.wait()

"""A Ray whose own processes are killed: the study goes on by itself, with the bits of an undisturbed run."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.e2e.commands import (
    Ended,
    as_file,
    command,
    ended,
    events_of,
    num_rows_by_trial,
    only_study,
    processes_of,
    started,
    table_bytes,
    wait_for,
)
from tests.e2e.specs import digits
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind

pytestmark = pytest.mark.slow

NUM_STEPS = 1500
NOTICED_S = 15.0
"""Death of a process of Ray -> the next driver runs; most of it is the start of a Python that imports Ray."""


@dataclass
class Story:
    """What happened to one study whose raylet, then GCS, was killed while it trained."""

    undisturbed: Path
    home: Path
    out: Path
    end: Ended
    seconds: dict[str, float] = field(default_factory=dict)
    """Process -> from its death to the next driver."""
    survivors: dict[str, list[str]] = field(default_factory=dict)
    """Process -> what still lived of its Ray when the next driver ran."""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    cwd = tmp_path_factory.mktemp("ray dies")
    spec = as_file(digits(NUM_STEPS), cwd / "study.yaml")
    # An environment that asks for more threads than a trainer may use.
    flags = ("--workers", "2", "--tracking-uri", "none")
    peace = command("run", spec, "--home", "peace", "--out", "peace-out", *flags, cwd=cwd, OMP_NUM_THREADS="4")
    assert peace.status == 0, peace.err
    home = cwd / "home"
    seconds, survivors = {}, {}
    with started("run", spec, "--home", "home", "--out", "out", *flags, cwd=cwd) as process:
        for name in ("raylet", "gcs_server"):
            _wait_for_steps(home)
            seconds[name], survivors[name] = _killed(home, name)
        end = ended(process)
    return Story(cwd / "peace-out", home, cwd / "out", end, seconds, survivors)


def _wait_for_steps(home: Path) -> None:
    seen = len(events_of(home))
    wait_for(
        lambda: [event for event in events_of(home)[seen:] if event.kind is EventKind.PACK_PROGRESS], "a durable step"
    )


def _found(home: Path, is_wanted: Callable[[str], bool]) -> dict[int, str]:
    return {pid: line for pid, line in processes_of(only_study(home).id).items() if is_wanted(line)}


def _killed(home: Path, name: str) -> tuple[float, list[str]]:
    """Kill the one process of that name. Returns how long the next driver took, and what was left of the old Ray."""
    drivers = _found(home, lambda line: "-m workers.cluster" in line)
    old = processes_of(only_study(home).id)
    (victim,) = [pid for pid in old if psutil.Process(pid).name() == name]
    began = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: _found(home, lambda line: "-m workers.cluster" in line).keys() - drivers.keys(), "the next driver")
    left = processes_of(only_study(home).id)
    return time.monotonic() - began, [line for pid, line in left.items() if old.get(pid) == line]


def test_the_study_ends_by_itself(story: Story) -> None:
    assert story.end.status == 0, story.end.err
    assert "all 16 trials done" in story.end.out
    assert story.end.err.count("has lost its Ray") == 2
    assert "Traceback" not in story.end.err


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_the_driver_notices_within_seconds(story: Story, name: str) -> None:
    assert story.seconds[name] < NOTICED_S


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_nothing_of_a_dead_ray_lives_on(story: Story, name: str) -> None:
    assert story.survivors[name] == []


def test_nothing_is_left_running(story: Story) -> None:
    assert processes_of(only_study(story.home).id) == {}


def test_the_bits_are_those_of_an_undisturbed_run(story: Story) -> None:
    assert table_bytes(story.out) == table_bytes(story.undisturbed)
    assert set(num_rows_by_trial(story.out, "steps").values()) == {NUM_STEPS}


def test_packs_were_queued_again_because_ray_was_lost(story: Story) -> None:
    reasons = {event.payload["reason"] for event in events_of(story.home) if event.kind is EventKind.PACK_REQUEUED}
    assert {"its Ray is lost: raylet has ended", "its Ray is lost: gcs_server has ended"} <= reasons


def test_a_trainer_has_one_thread_whatever_the_environment_asks_for(story: Story) -> None:
    peace = story.undisturbed.parent / "peace"
    with Ledger.open(peace, create=False) as ledger:
        packs = ledger.packs(only_study(peace).id)
    assert {pack.plan["facts"]["intra_op_threads"] for pack in packs} == {1}

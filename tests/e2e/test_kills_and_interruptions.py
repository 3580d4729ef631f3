"""Whatever is killed in between, a study ends with the bits of an undisturbed run, nothing lost and nothing doubled."""

import signal
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

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

pytestmark = [pytest.mark.slow, pytest.mark.proof]

NUM_STEPS = 4_000
"""At a second a hundred, the study cannot end between a step that was seen and the signal that follows it."""


@dataclass
class Story:
    """What happened to one study, command by command."""

    undisturbed: Path
    """Result folder of the same study in peace."""
    home: Path
    out: Path
    interrupted: Ended
    after_interrupt: dict[str, object] = field(default_factory=dict)
    follower: Ended | None = None
    left_by_killed_command: dict[int, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Ctrl-C; continued by two commands at once, of which the leading one is killed."""
    cwd = tmp_path_factory.mktemp("kills")
    spec = as_file(digits(NUM_STEPS), cwd / "study.yaml")
    flags = ("--workers", "1")
    peace = command("run", spec, "--home", "peace", "--out", "peace-out", "--tracking-uri", "none", *flags, cwd=cwd)
    assert peace.status == 0, peace.err
    pace, home, flags = cwd / "pace", cwd / "home", ("run", spec, "--home", "home", "--out", "out", *flags)
    with started(*flags, cwd=cwd, pace=pace) as process:
        _wait_for_steps(home)
        process.send_signal(signal.SIGINT)
        story = Story(cwd / "peace-out", home, cwd / "out", ended(process))
    story.after_interrupt = _standing(home)
    with started(*flags, cwd=cwd, pace=pace) as leader:
        _wait_for_steps(home)
        with started(*flags, cwd=cwd, pace=pace) as follower:
            leader.kill()
            ended(leader)
            driver = _driver_of(home)
            wait_for(lambda: driver not in processes_of(only_study(home).id), "the driver to end by itself")
            _wait_for_steps(home)
            pace.unlink()
            story.follower = ended(follower)
    story.left_by_killed_command = processes_of(only_study(home).id)
    return story


def _num_events(home: Path) -> int:
    return len(events_of(home))


def _wait_for_steps(home: Path) -> None:
    """Wait for another durable step of a pack that trains now."""
    seen = _num_events(home)
    wait_for(
        lambda: [event for event in events_of(home)[seen:] if event.kind is EventKind.PACK_PROGRESS], "a durable step"
    )


def _driver_of(home: Path) -> int:
    return min(pid for pid, line in processes_of(only_study(home).id).items() if "-m workers.cluster" in line)


def _standing(home: Path) -> dict[str, object]:
    study = only_study(home)
    with Ledger.open(home, create=False) as ledger:
        packs = ledger.packs(study.id)
        return {
            "state": str(study.state),
            "packs": {str(pack.state) for pack in packs},
            "checkpoints": sum(pack.checkpoint is not None for pack in packs),
            "processes": processes_of(study.id),
        }


def test_ctrl_c_stops_cleanly_and_keeps_what_is_done(story: Story) -> None:
    assert story.interrupted.status == 130, story.interrupted.err
    assert "the same command continues" in story.interrupted.err
    assert "Traceback" not in story.interrupted.err
    assert story.after_interrupt == {
        "state": "queued",
        "packs": {"queued"},
        "checkpoints": 1,
        "processes": {},
    }


def test_a_second_command_follows_and_takes_over(story: Story) -> None:
    assert story.follower is not None
    assert story.follower.status == 0, story.follower.err
    assert "continuing with what is missing" in story.follower.err
    assert "all 16 trials done" in story.follower.out


def test_a_driver_whose_command_is_gone_saves_and_ends(story: Story) -> None:
    requeued = [event.payload["reason"] for event in events_of(story.home) if event.kind is EventKind.PACK_REQUEUED]
    assert 1 <= requeued.count("the command that started the driver is gone") <= 2


def test_nothing_is_left_running(story: Story) -> None:
    assert story.left_by_killed_command == {}


def test_the_bits_are_those_of_an_undisturbed_run(story: Story) -> None:
    assert table_bytes(story.out) == table_bytes(story.undisturbed)


def test_nothing_is_lost_or_doubled(story: Story) -> None:
    assert set(num_rows_by_trial(story.out, "steps").values()) == {NUM_STEPS}
    events = events_of(story.home)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    trials = [event.payload["trial_id"] for event in events if event.kind is EventKind.TRIAL_DONE]
    assert len(trials) == len(set(trials)) == 16
    with closing(sqlite3.connect(story.home / "mlflow.sqlite")) as connection:
        keys = connection.execute("select value from tags where key = 'warmup_bench.key'").fetchall()
    assert len(keys) == len(set(keys)) == 16 + 1


def test_only_the_final_segments_are_kept(story: Story) -> None:
    study = only_study(story.home)
    with Ledger.open(story.home, create=False) as ledger:
        named = {segment["name"] for manifest in ledger.manifests(study.id).values() for segment in manifest}
    records = story.home / "records"
    there = {path.relative_to(records).as_posix() for path in records.rglob("*") if path.is_file()}
    assert there == named


@pytest.fixture(scope="module")
def unreachable_tracker(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """A study whose tracker is down, interrupted while it waits for it."""
    cwd = tmp_path_factory.mktemp("down")
    spec = as_file(digits(20, num_seeds=1), cwd / "study.yaml")
    flags = ("--home", "home", "--out", "out", "--tracking-uri", "http://127.0.0.1:9")
    with started("run", spec, *flags, cwd=cwd) as process:
        wait_for(lambda: events_of(cwd / "home") and only_study(cwd / "home").state == "done", "the study's end")
        process.send_signal(signal.SIGINT)
        return cwd, ended(process)


def test_a_tracker_that_is_down_leaves_the_study_done_and_says_behind(unreachable_tracker: tuple[Path, Ended]) -> None:
    cwd, done = unreachable_tracker
    wait_for(lambda: only_study(cwd / "home").publishing == "behind", "the driver, which says it as it ends")
    study = only_study(cwd / "home")
    assert str(study.state) == "done"
    assert done.status == 130
    assert "all 8 trials done" in done.out
    assert "is behind" in done.out  # and why, where the publisher had come to say so
    assert f"; warmup-bench sync {study.id[:8]} --home {cwd / 'home'}" in done.out
    assert (cwd / "out" / "report.html").exists()
    assert processes_of(study.id) == {}


def test_sync_catches_up_once_a_tracker_answers(unreachable_tracker: tuple[Path, Ended]) -> None:
    cwd, _ = unreachable_tracker
    caught_up = command("sync", "--home", "home", cwd=cwd)
    assert caught_up.status == 0, caught_up.err
    assert only_study(cwd / "home").publishing == "current"
    with closing(sqlite3.connect(cwd / "home" / "mlflow.sqlite")) as connection:
        assert connection.execute("select count(*) from runs where status = 'FINISHED'").fetchone() == (8 + 1,)

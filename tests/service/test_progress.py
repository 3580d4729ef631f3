"""The fold over a study's events, and the line that a person reads of it."""

import io
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from service.cli.display import PLAIN_EVERY_S, Display, describe, phase_of
from service.progress import Progress
from workers.ledger.rows import EventKind, EventRow


def fold(*events: tuple[EventKind, dict], total: int = 4) -> Progress:
    progress = Progress(total, pack_steps={"a": 100, "b": 100}, pack_trials={"a": 2, "b": 2})
    progress.take(EventRow(seq, datetime.now(UTC), kind, payload) for seq, (kind, payload) in enumerate(events, 1))
    return progress


PLANNED = (EventKind.PLAN_WRITTEN, {})
STARTED = (EventKind.PACK_STARTED, {"pack_id": "a", "attempt": 1, "step": 0})


def moved(step: int) -> tuple[EventKind, dict]:
    return EventKind.PACK_PROGRESS, {"pack_id": "a", "attempt": 1, "step": step}


def trial(outcome: str = "trained", **more: str) -> tuple[EventKind, dict]:
    return EventKind.TRIAL_DONE, {"trial_id": "t", "outcome": outcome, **more}


def test_counts_follow_the_events() -> None:
    done = (EventKind.PACK_DONE, {"pack_id": "a", "attempt": 1, "step": 60, "seconds": 1.0})
    progress = fold(PLANNED, STARTED, moved(50), trial("diverged"), trial(), done)
    assert (progress.done, progress.diverged, progress.trials_running) == (2, 1, 0)
    assert progress.fraction == 0.5


def test_a_pack_that_runs_counts_its_steps_and_trials() -> None:
    progress = fold(PLANNED, STARTED, moved(50))
    assert (progress.fraction, progress.trials_running) == (0.25, 2)


def test_an_event_is_taken_once() -> None:
    progress = fold(PLANNED, trial())
    progress.take([EventRow(2, datetime.now(UTC), EventKind.TRIAL_DONE, {"trial_id": "t", "outcome": "trained"})])
    assert progress.done == 1


def test_a_pack_that_goes_back_to_its_checkpoint_is_not_counted_twice() -> None:
    back = (EventKind.PACK_REQUEUED, {"pack_id": "a", "reason": "its trainer died"})
    progress = fold(PLANNED, STARTED, moved(80), back, STARTED, moved(30))
    assert progress.steps_made == 30
    assert progress.notices == ["pack a will go on: its trainer died"]


def test_a_continued_study_forgets_what_had_failed() -> None:
    progress = fold(
        PLANNED,
        (EventKind.TRIAL_ERRORED, {"trial_id": "t", "pack_id": "a", "reason": "x"}),
        (EventKind.TRIALS_CANCELLED, {"num_trials": 2, "reason": "x"}),
        (EventKind.STUDY_ERRORED, {"reason": "disk"}),
        (EventKind.STUDY_CONTINUED, {"continuation": 1, "num_trials": 3}),
    )
    assert (progress.errored, progress.cancelled, progress.is_final) == (0, 0, False)


def test_the_time_left_is_told_from_the_speed_so_far() -> None:
    progress = fold(PLANNED, STARTED, moved(20))
    assert progress.eta_s(10.0) is None
    progress.take([EventRow(9, datetime.now(UTC), *moved(40))])
    assert progress.eta_s(12.0) == pytest.approx((200 - 40) * 2.0 / 20)


def test_the_time_left_does_not_jump_when_steps_come_in_lumps() -> None:
    progress, told = fold(PLANNED, STARTED), []
    for poll in range(5 * 20):  # five polls a second, twenty steps every other second, twenty seconds
        now_s = poll / 5
        progress.take([EventRow(10 + poll, datetime.now(UTC), *moved(min(100, 10 * int(now_s / 2))))])
        told.append((now_s, progress.eta_s(now_s)))
    told = [(now_s, eta) for now_s, eta in told if eta is not None]
    steps = [abs(later - earlier) for (_, earlier), (_, later) in pairwise(told)]
    assert len(told) > 80
    assert max(steps) < 1.0
    assert all(eta == pytest.approx(40.0 - now_s, rel=0.15) for now_s, eta in told if now_s > 10.0)


def test_the_time_left_grows_when_nothing_moves_for_long() -> None:
    progress = fold(PLANNED, STARTED, moved(20))
    progress.eta_s(0.0)
    progress.take([EventRow(9, datetime.now(UTC), *moved(40))])
    first = progress.eta_s(2.0)
    waits = [progress.eta_s(2.0 + second) for second in range(1, 60)]
    assert waits[2] < first < waits[-1]


def test_no_time_left_is_told_without_speed() -> None:
    progress = fold(PLANNED, STARTED, moved(20))
    assert progress.eta_s(10.0) is None
    assert progress.eta_s(60.0) is None


@pytest.mark.parametrize(
    ("events", "phase", "said"),
    [
        ([], "starting", "starting Ray and its workers"),
        ([PLANNED], "starting", "starting Ray and its workers"),
        ([PLANNED, STARTED], "training", "0/4 trials done, 2 running"),
        ([PLANNED, STARTED, trial(), trial(reused_from="x")], "training", "2/4 trials done, 2 running, 1 reused"),
        ([PLANNED, STARTED, *[trial()] * 4], "reporting", "4/4 trials done, writing tables and report"),
        ([PLANNED, *[trial()] * 4, (EventKind.STUDY_DONE, {})], "publishing", "4/4 trials done, publishing to MLflow"),
    ],
)
def test_each_phase_is_said_in_plain_words(events, phase, said) -> None:
    progress = fold(*events)
    assert phase_of(progress) == phase
    assert describe(progress, phase, None, "sqlite:///x").startswith(said)


def test_a_study_that_is_not_tracked_says_nothing_of_publishing() -> None:
    progress = fold(PLANNED, *[trial()] * 4, (EventKind.STUDY_DONE, {}))
    assert describe(progress, "publishing", None, None) == "4/4 trials done"


def test_without_a_terminal_a_line_comes_every_few_seconds(monkeypatch, capsys) -> None:
    now = [100.0]
    monkeypatch.setattr("service.cli.display.time.monotonic", lambda: now[0])
    progress = fold(PLANNED, STARTED)
    with Display(4) as display:
        for second in range(101):
            now[0] = 100.0 + second / 5
            progress.take([EventRow(10 + second, datetime.now(UTC), *moved(second))])
            display.show(progress)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 + 20 // PLAIN_EVERY_S


def test_a_new_phase_and_a_notice_are_said_at_once(monkeypatch, capsys) -> None:
    monkeypatch.setattr("service.cli.display.time.monotonic", lambda: 100.0)
    progress = fold(PLANNED, STARTED)
    with Display(4, "sqlite:///x") as display:
        display.show(progress)
        progress.notices.append("the driver was killed (signal 9); starting it again")
        progress.take(EventRow(10 + n, datetime.now(UTC), *trial()) for n in range(4))
        display.show(progress)
    assert capsys.readouterr().err.splitlines() == [
        "0/4 trials done, 2 running",
        "the driver was killed (signal 9); starting it again",
        "4/4 trials done, writing tables and report",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line_is_drawn_over_and_over(monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    progress = fold(PLANNED, STARTED, moved(50))
    with Display(4) as display:
        display.show(progress)
        display._live.refresh()
    assert "0/4 trials done, 2 running" in terminal.getvalue()
    assert "25%" in terminal.getvalue()
    assert "\x1b[" in terminal.getvalue()


def test_on_a_narrow_terminal_the_time_is_whole(monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with Display(4) as display:
        display.show(fold())
        display._live.refresh()
    assert "which load torch (some seconds)" in terminal.getvalue()
    assert "0:00:00" in terminal.getvalue()
    assert "…" not in terminal.getvalue()

"""The progress of a study that runs elsewhere, told by its events alone; and `watch` and `cancel` here."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.cli.following import EventFold, show_progress
from service.cli.main import main
from tests.ledger.making import drive, finish, new_study, planned
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind, EventRow

CREATED = (EventKind.STUDY_CREATED, {"name": "x", "total": 4})
PLANNED = (EventKind.PLAN_WRITTEN, {"round": 0, "total_steps": 200})


def started(pack_id: str, num_trials: int = 2) -> tuple[EventKind, dict[str, Any]]:
    facts = {"attempt": 1, "step": 0, "num_trials": num_trials, "total_steps": 100}
    return EventKind.PACK_STARTED, {"pack_id": pack_id} | facts


def moved(pack_id: str, step: int) -> tuple[EventKind, dict[str, Any]]:
    return EventKind.PACK_PROGRESS, {"pack_id": pack_id, "attempt": 1, "step": step}


def rows(*events: tuple[EventKind, dict[str, Any]]) -> Iterator[EventRow]:
    return (EventRow(seq, datetime.now(UTC), kind, payload) for seq, (kind, payload) in enumerate(events, 1))


def folded(*events: tuple[EventKind, dict[str, Any]]) -> EventFold:
    fold = EventFold(total=0)
    for event in rows(*events):
        fold.take(event)
    return fold


def test_the_share_that_is_done_counts_packs_that_have_not_begun() -> None:
    progress = folded(CREATED, PLANNED, started("a"), moved("a", 50)).progress
    assert (progress.total, progress.fraction, progress.trials_running) == (4, 0.25, 2)


def test_a_pack_that_goes_on_counts_once() -> None:
    back = (EventKind.PACK_REQUEUED, {"pack_id": "a", "reason": "x"})
    assert folded(CREATED, PLANNED, started("a"), back, started("a"), moved("a", 50)).progress.fraction == 0.25


def test_a_pack_that_is_halved_has_its_steps_twice() -> None:
    halved = (EventKind.PACK_REPLANNED, {"pack_id": "a", "into": ["b", "c"], "reason": "x"})
    progress = folded(CREATED, PLANNED, started("a"), halved, started("b", 1), moved("b", 60)).progress
    assert progress.fraction == 60 / 300


def test_a_round_that_is_added_adds_its_trials() -> None:
    added = (EventKind.ROUND_ADDED, {"round": 1, "round_kind": "extend", "num_trials": 3})
    assert folded(CREATED, added).progress.total == 7


def test_what_was_before_is_not_shown_as_if_it_happened_now(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.cli.following.QUIET_S", 10.0)  # a busy machine may pause between two events
    running = (EventKind.STUDY_RUNNING, {})

    def trickling() -> Iterator[EventRow]:
        for event in rows(CREATED, running, PLANNED, started("a"), moved("a", 50)):
            time.sleep(0.02)
            yield event

    show_progress(trickling(), 4)
    assert capsys.readouterr().err.splitlines() == ["0/4 trials done, 2 running"]


def test_what_the_events_raise_is_raised() -> None:
    def events() -> Iterator[EventRow]:
        yield from rows(CREATED)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        show_progress(events(), 4)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def said(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Exit status, stdout, and the lines of stderr of a command that acts here."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home.parent / "config"))
    monkeypatch.delenv("WARMUP_BENCH_SERVER", raising=False)

    def run(*arguments: object) -> tuple[int, str, list[str]]:
        monkeypatch.setattr(sys, "argv", ["warmup-bench", *map(str, arguments), "--home", str(home)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err.splitlines()

    return run


def test_watch_follows_what_another_command_runs_here(said: Callable[..., Any], home: Path) -> None:
    with Ledger.open(home) as ledger:
        study_id, fence, packs = planned(ledger)
        ledger.set_study_state(study_id, "running", fence=fence)

        def work() -> None:
            time.sleep(1.0)
            finish(ledger, study_id, fence, packs)
            ledger.set_study_state(study_id, "done", fence=fence)

        thread = threading.Thread(target=work)
        thread.start()
        status, out, err = said("watch", "small", "--json")
        thread.join()
    assert (status, json.loads(out)["state"]) == (0, "done")
    assert err[0] == f"warmup-bench: here, home {home}"
    assert err[-1].startswith("4/4 trials done")


def test_watch_says_that_nobody_runs_a_study_and_ends_with_its_cancel(said: Callable[..., Any], home: Path) -> None:
    with Ledger.open(home) as ledger:
        study = new_study(ledger)
        timer = threading.Timer(0.5, lambda: ledger.request_cancel(study.id))
        timer.start()
        status, _, err = said("watch", study.id[:6])
        timer.join()
    assert status == 1
    assert "nobody runs it now" in err[1]


def test_cancel_here_ends_a_queued_study_and_asks_the_driver_of_a_running_one(
    said: Callable[..., Any], home: Path
) -> None:
    with Ledger.open(home) as ledger:
        queued, running = new_study(ledger, name="queued"), new_study(ledger, name="running")
        fence = drive(ledger, running.id)
        ledger.set_study_state(running.id, "running", fence=fence)
        assert said("cancel", "queued")[:2] == (0, f"{queued.id}  cancelled\n")
        status, out, _ = said("cancel", "running")
        assert (status, out) == (0, f"{running.id}  running, stops within seconds; what is done is kept\n")
        assert ledger.cancel_requested(running.id)
        assert json.loads(said("cancel", "running", "--json")[1])["cancel_requested"]

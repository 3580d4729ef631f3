"""Ctrl-C twice, or all of it killed while it publishes: the same command ends the study, and says what it waits for."""

import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.e2e.commands import Ended, as_file, command, ended, events_of, only_study, processes_of, started, wait_for
from tests.e2e.specs import digits
from workers.ledger.rows import EventKind

pytestmark = [pytest.mark.slow, pytest.mark.proof]
DRIVER = "-m workers.cluster"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended, Ended]:
    """A command that was interrupted twice, and the one after it."""
    cwd = tmp_path_factory.mktemp("impatient")
    flags = (
        "run",
        as_file(digits(400), cwd / "study.yaml"),
        "--home",
        "home",
        "--out",
        "out",
        "--tracking-uri",
        "none",
        "--workers",
        "1",
    )
    with started(*flags, cwd=cwd, pace=cwd / "pace") as process:
        wait_for(lambda: [event for event in events_of(cwd / "home") if event.kind is EventKind.PACK_PROGRESS], "steps")
        # Held, so that the second Ctrl-C and the next command meet it at work however slow this machine is.
        (driver,) = [pid for pid, line in processes_of(only_study(cwd / "home").id).items() if DRIVER in line]
        os.kill(driver, signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        first = ended(process)
    with started(*flags, cwd=cwd) as process:
        heard = _heard(process, "waiting for process")
        os.kill(driver, signal.SIGCONT)
        (cwd / "pace").unlink()
        second = ended(process)
    return cwd, first, Ended(second.status, second.out, heard + second.err)


def _heard(process: "subprocess.Popen[str]", words: str) -> str:
    """What a command says on stderr up to the line with these words, or to its end."""
    assert process.stderr is not None
    heard = ""
    for line in iter(process.stderr.readline, ""):
        heard += line
        if words in line:
            break
    return heard


def test_a_second_ctrl_c_says_what_is_kept_and_how_to_go_on(impatient: tuple[Path, Ended, Ended]) -> None:
    _, first, _ = impatient
    assert first.status == 130
    assert "not waiting: the driver saves by itself" in first.err
    assert "the same command continues" in first.err
    assert "Traceback" not in first.err


def test_the_next_command_says_for_whom_it_waits_and_ends_the_study(impatient: tuple[Path, Ended, Ended]) -> None:
    cwd, _, second = impatient
    assert second.status == 0, second.err
    assert "waiting for process" in second.err
    assert "all 16 trials done" in second.out
    wait_for(lambda: not processes_of(only_study(cwd / "home").id), "the end of all its processes", 30.0)


def test_a_done_study_whose_publisher_was_killed_is_published_by_the_next_command(tmp_path: Path) -> None:
    home = tmp_path / "home"
    flags = (
        "run",
        as_file(digits(20, num_seeds=1), tmp_path / "study.yaml"),
        "--home",
        "home",
        "--out",
        "out",
        "--workers",
        "1",
    )
    with started(*flags, "--tracking-uri", "http://127.0.0.1:9", cwd=tmp_path) as process:
        wait_for(lambda: events_of(home) and only_study(home).state == "done", "the study's end")
        wait_for(lambda: (tmp_path / "out" / "report.html").exists(), "the answer, which waits for no tracker", 20.0)
        process.kill()
        for pid in processes_of(only_study(home).id):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    done = command(*flags, cwd=tmp_path)
    assert done.status == 0, done.err
    assert done.out.index("all 8 trials done") < done.out.index("MLflow")
    assert "behind" not in done.out
    with closing(sqlite3.connect(home / "mlflow.sqlite")) as connection:
        assert connection.execute("select count(*) from runs where status = 'FINISHED'").fetchone() == (8 + 1,)
    again = command(*flags, cwd=tmp_path)
    assert (again.status, "publishing to MLflow" in again.err) == (0, False), again.err

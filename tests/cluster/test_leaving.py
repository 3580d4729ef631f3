"""A node that is about to go: its drivers save and end, and Ray starts nothing there meanwhile."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from ray.scripts.scripts import drain_node

from workers import marks
from workers.cluster import draining, leave

WAITS_FOR_TERM = """
import signal, sys, time
def end(*_):
    time.sleep(0.3)
    sys.exit(3)
signal.signal(signal.SIGTERM, end if len(sys.argv) == 1 else signal.SIG_IGN)
print("up", flush=True)
signal.pause()
time.sleep(60)
"""


def started(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS_FOR_TERM, *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_leaving_a_node_asks_its_drivers_alone_and_waits_until_they_have_saved(monkeypatch) -> None:
    monkeypatch.setattr(marks, "IS_DRIVER", f"test-{os.getpid()}")  # whatever else runs on this machine is left alone
    with started(**{marks.DRIVER: marks.IS_DRIVER}) as driver, started(**{marks.STUDY: "s1"}) as trainer:
        assert leave.main([]) == 0
        assert (driver.wait(10), trainer.poll()) == (3, None)
        trainer.kill()


def test_a_driver_that_does_not_end_in_time_is_said(monkeypatch, capsys) -> None:
    monkeypatch.setattr(marks, "IS_DRIVER", f"test-{os.getpid()}")
    with started("deaf", **{marks.DRIVER: marks.IS_DRIVER}) as driver:
        assert leave.main(["--wait-s", "0.3"]) == 1
        driver.send_signal(signal.SIGKILL)
    assert "0 of 1 drivers" in capsys.readouterr().err


AS_A_RAYLET = """
import subprocess, sys
with subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=eval(sys.argv[2])) as process:
    process.wait()
"""
NOTES_ITS_WORDS = """
import pathlib, sys, time
pathlib.Path({file!r}).write_text(" ".join(sys.argv[1:]))
sys.exit({status})
"""


@pytest.mark.parametrize("status", [0, 1])
def test_a_node_that_is_left_is_closed_for_whatever_ray_would_start_there(
    status, monkeypatch, tmp_path, capsys
) -> None:
    monkeypatch.setattr(marks, "IS_DRIVER", f"test-{os.getpid()}")
    said = tmp_path / "said"
    monkeypatch.setattr(draining, "COMMAND", NOTES_ITS_WORDS.format(file=str(said), status=status and "'no such head'"))
    (tmp_path / "raylet").symlink_to(sys.executable)
    words = [WAITS_FOR_TERM.replace("0.3", "2"), repr(dict(os.environ) | {marks.DRIVER: marks.IS_DRIVER})]
    line = [tmp_path / "raylet", "-c", AS_A_RAYLET, *words, "--node_id=0a1b", "--gcs-address=head:6379"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as raylet:
        assert raylet.stdout.readline() == "up\n"
        assert leave.main([]) == 0
        assert raylet.wait(10) == 0, "and it itself is left alone"
    assert said.read_text().startswith(
        "drain-node --address head:6379 --node-id 0a1b --reason DRAIN_NODE_REASON_PREEMPTION"
    )
    err = capsys.readouterr().err
    assert ("node 0a1b was not closed for new drivers: no such head" in err) == (status == 1)
    assert err.endswith("1 of 1 drivers on this node have saved and ended\n")


def test_rays_own_command_closes_a_node_with_the_words_that_it_is_given() -> None:
    known = {option for parameter in drain_node.params for option in parameter.opts}
    assert known >= {"--address", "--node-id", "--reason", "--reason-message", "--deadline-remaining-seconds"}
    (reason,) = [parameter for parameter in drain_node.params if "--reason" in parameter.opts]
    assert "DRAIN_NODE_REASON_PREEMPTION" in reason.type.choices


def test_a_driver_that_comes_while_the_node_is_left_is_asked_too(monkeypatch, capsys) -> None:
    monkeypatch.setattr(marks, "IS_DRIVER", f"test-{os.getpid()}")
    monkeypatch.setattr(leave, "LOOK_AGAIN_S", 0.1)
    with started("deaf", **{marks.DRIVER: marks.IS_DRIVER}) as deaf, ThreadPoolExecutor(1) as thread:
        left = thread.submit(leave.main, ["--wait-s", "5"])
        time.sleep(0.5)
        with started(**{marks.DRIVER: marks.IS_DRIVER}) as late:
            assert late.wait(10) == 3
        deaf.kill()
        assert left.result() == 0
    assert "2 of 2 drivers" in capsys.readouterr().err


def test_a_node_without_drivers_is_left_at_once(monkeypatch) -> None:
    monkeypatch.setattr(marks, "IS_DRIVER", f"test-{os.getpid()}")
    assert leave.main([]) == 0

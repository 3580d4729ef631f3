"""Who is known to have ended: a process of this machine and this boot, and of no other that looks alike."""

import os
import socket
import subprocess
import sys

import pytest

from workers import holders
from workers.holders import has_ended, lease_owner, process_of

PRINT_OWNER = "from workers.holders import lease_owner; print(lease_owner())"


def changed(owner, **parts):
    """The owner with some of its parts replaced."""
    names = ("host", "pid", "machine", "started", "random")
    return ":".join(str(parts.get(name, part)) for name, part in zip(names, owner.split(":"), strict=True))


@pytest.fixture(scope="module")
def gone():
    """What a process has called itself that has ended."""
    done = subprocess.run([sys.executable, "-c", PRINT_OWNER], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_process_that_lives_has_not_ended():
    owner = lease_owner()
    assert not has_ended(owner)
    assert process_of(owner) == os.getpid()
    assert owner != lease_owner(), "each use is told apart"


def test_a_process_that_was_here_and_is_gone_has_ended(gone):
    assert has_ended(gone)
    assert process_of(gone) is None


def test_a_zombie_has_ended():
    with subprocess.Popen([sys.executable, "-c", PRINT_OWNER], stdout=subprocess.PIPE, text=True) as process:
        owner = process.stdout.read().strip()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert has_ended(owner)


def test_a_younger_process_of_the_same_id_is_another(gone):
    owner = changed(lease_owner(), started=holders.start_of(os.getpid()) - 1)
    assert has_ended(owner)
    assert process_of(owner) is None


@pytest.mark.parametrize("part", ["machine", "host"])
def test_of_another_machine_or_boot_or_container_nobody_here_can_tell(gone, part):
    owner = changed(gone, **{part: "0123456789ab"})
    assert not has_ended(owner)
    assert process_of(owner) is None


@pytest.mark.parametrize("owner", [f"{socket.gethostname()}:4194306:12345678", "", "driver", ":::::", "a:b:c:d:e"])
def test_what_is_no_owner_of_this_version_has_not_ended(owner):
    assert not has_ended(owner)


def test_a_system_that_tells_no_boot_makes_nobody_dead(gone, monkeypatch):
    monkeypatch.setattr(holders, "this_machine", lambda: "")
    assert not has_ended(gone)
    assert not has_ended(changed(gone, machine=""))
    assert not has_ended(changed(gone, started=0))


@pytest.mark.skipif(not holders.PROC.is_dir(), reason="namespaces of process ids are Linux's")
def test_a_container_with_the_same_name_is_another_machine(monkeypatch):
    here = holders.this_machine.__wrapped__()
    monkeypatch.setattr(os, "readlink", lambda path: "pid:[1]")
    assert holders.this_machine.__wrapped__() not in (here, "")


def test_the_start_of_a_process_is_read_whatever_it_is_called(tmp_path, monkeypatch):
    (tmp_path / "7").mkdir()
    numbers = " ".join(map(str, range(4, 53)))  # each field's own number, from the fourth on
    (tmp_path / "7" / "stat").write_text(f"7 (a) R (b) c) S {numbers}\n")
    monkeypatch.setattr(holders, "PROC", tmp_path)
    assert holders.start_of(7) == holders.START_FIELD
    assert holders.start_of(8) is None

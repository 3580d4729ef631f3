"""`migrate`: a schema brought up, by name, waiting for a database; `healthy`: whether a controller goes round."""

import os
import sys
import time

import pytest

from schemas.errors import PlaceAway
from service.alive import FILE, Alive
from service.cli import migrate
from service.cli.main import main
from service.controller import Controller, ControllerSettings
from tests.service.driving import FakeLauncher
from workers.ledger.ledger import Ledger


@pytest.fixture
def said(capsys, monkeypatch):
    """Exit status, stdout and stderr of a command."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["warmup-bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def test_migrate_makes_the_ledger_and_doing_it_again_changes_nothing(said, tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.sqlite'}"
    for _ in range(2):
        status, out, _ = said("migrate", "--database-url", url)
        assert (status, out) == (0, f"ledger {tmp_path / 'shared.sqlite'}: its schema is this program's\n")
    with Ledger.open(url, create=False) as ledger:
        assert ledger.schema_is_current()


def test_migrate_without_a_database_is_about_the_home(said, tmp_path):
    assert said("migrate", "--home", tmp_path / "home")[0] == 0
    with Ledger.open(tmp_path / "home", create=False) as ledger:
        assert ledger.schema_is_current()


@pytest.mark.parametrize(("num_away", "wait_s", "status"), [(2, 60, 0), (1_000, 0, 1)])
def test_migrate_waits_for_a_database_that_is_not_up_yet_and_not_for_ever(
    said, tmp_path, monkeypatch, num_away, wait_s, status
):
    opened, real = [], Ledger.open

    def open_later(place, **more):
        opened.append(place)
        if len(opened) <= num_away:
            raise PlaceAway("ledger x: the database server cannot be used")
        return real(place, **more)

    monkeypatch.setattr(Ledger, "open", open_later)
    monkeypatch.setattr(migrate, "AGAIN_AFTER_S", 0.0)
    url = f"sqlite:///{tmp_path / 'shared.sqlite'}"
    got, _, err = said("migrate", "--database-url", url, "--wait-s", wait_s)
    assert got == status
    assert "the database server cannot be used" in err
    assert len(opened) == (3 if status == 0 else 1)


def test_migrate_refuses_what_is_no_database_and_no_time(said):
    assert said("migrate", "--database-url", "mysql://h/x")[0] == 1
    assert said("migrate", "--wait-s", "-1")[0] == 2
    assert said("migrate", "--wait-s", "soon")[0] == 2


def test_a_controller_is_healthy_while_it_goes_round_whatever_a_round_brings(said, tmp_path):
    status, _, err = said("healthy", "--home", tmp_path)
    assert (status, "no controller runs with this home" in err) == (1, True)
    with Ledger.open(tmp_path) as ledger:
        alive, rounds = Alive(tmp_path), []

        def on_round() -> None:
            alive.note()
            rounds.append(1)
            controller.stop_soon()

        settings = ControllerSettings(poll_s=0.01)
        controller = Controller(ledger, FakeLauncher(ledger), settings, on_round=on_round)
        controller.run_once = lambda: 1 / 0
        controller.run()
    assert rounds == [1]
    assert said("healthy", "--home", tmp_path)[0] == 0
    old = time.time() - 31
    os.utime(tmp_path / FILE, (old, old))
    status, _, err = said("healthy", "--home", tmp_path)
    assert (status, "31 s ago, allowed 30 s" in err) == (1, True)
    assert said("healthy", "--home", tmp_path, "--max-age-s", "60")[0] == 0
    assert said("healthy", "--home", tmp_path, "--max-age-s", "0")[0] == 2
    alive.end()
    assert said("healthy", "--home", tmp_path)[0] == 1

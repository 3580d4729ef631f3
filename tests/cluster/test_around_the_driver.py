"""What stands around a driver: its lease, its stop request, where its packages come from, which cards it has."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from schemas.errors import PlaceError, StaleFence
from workers.cards import cards
from workers.cluster.heartbeat import Heartbeat
from workers.cluster.origins import package_origins
from workers.cluster.stopping import StopRequest


@pytest.fixture
def house(make_house):
    return make_house()


def test_only_one_driver_has_a_study(house) -> None:
    with Heartbeat.acquire(house.ledger, house.study.id):
        assert Heartbeat.acquire(house.ledger, house.study.id) is None


def test_a_lease_is_free_once_its_driver_has_ended(house) -> None:
    with Heartbeat.acquire(house.ledger, house.study.id) as first:
        pass
    with Heartbeat.acquire(house.ledger, house.study.id) as second:
        assert second.fence == first.fence + 1


def test_a_lease_is_renewed_before_it_runs_out(house) -> None:
    with Heartbeat.acquire(house.ledger, house.study.id, lease_s=3.0) as heartbeat:
        time.sleep(4.0)
        heartbeat.check()
        assert house.ledger.lease(house.study.id, "run").is_fresh


def test_a_driver_hears_that_another_one_took_over(house) -> None:
    with Heartbeat.acquire(house.ledger, house.study.id, lease_s=0.3) as heartbeat:
        lease = house.ledger.lease(house.study.id, "run")
        house.ledger.release_lease(house.study.id, "run", lease.owner, lease.fence)
        assert house.ledger.acquire_lease(house.study.id, "run", "another", 30.0) is not None
        time.sleep(0.5)
        with pytest.raises(StaleFence):
            heartbeat.check()


def test_a_ledger_out_of_reach_does_not_stop_the_training(house, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_reach(*_):
        raise PlaceError("the disk is gone")

    with Heartbeat.acquire(house.ledger, house.study.id, lease_s=0.3) as heartbeat:
        monkeypatch.setattr(type(house.ledger), "renew_lease", out_of_reach)
        monkeypatch.setattr(type(house.ledger), "release_lease", out_of_reach)
        time.sleep(0.5)
        heartbeat.check()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_to_stop_and_interrupts_nothing(number: int) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        stop = StopRequest()
        stop.listen()
        assert stop.reason == ""
        os.kill(os.getpid(), number)
        assert stop.reason == "asked to stop"
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_a_parent_that_is_gone_is_a_reason_to_stop() -> None:
    assert StopRequest(os.getppid()).reason == ""
    assert StopRequest(os.getppid() + 1).reason == "the command that started the driver is gone"


def test_packages_of_our_names_in_a_folder_of_the_users_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = package_origins()
    assert {Path(folder).name for folder in ours.values()} == {"schemas", "workers", "service"}
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "service", raising=False)
    assert package_origins() == ours | {"service": str(tmp_path / "service")}


@pytest.fixture
def two_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("workers.cards.version", lambda name: "2.13.0")
    for number in range(2):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
        (tmp_path / f"0000:0{number}:00.0" / "information").write_text("Model: \t\t NVIDIA H200\nIRQ: 1\n")
    return tmp_path


def test_cards_are_told_by_their_models(two_cards: Path) -> None:
    assert cards({}, two_cards) == ["NVIDIA H200", "NVIDIA H200"]


@pytest.mark.parametrize(("visible", "count"), [("", 0), ("-1", 0), ("1", 1), ("0,1", 2)])
def test_hidden_cards_are_none(two_cards: Path, visible: str, count: int) -> None:
    assert len(cards({"CUDA_VISIBLE_DEVICES": visible}, two_cards)) == count


def test_a_torch_for_cpus_has_no_cards(two_cards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.cards.version", lambda name: "2.13.0+cpu")
    assert cards({}, two_cards) == []


def test_a_machine_without_the_kernel_module_has_no_cards(tmp_path: Path) -> None:
    assert cards({}, tmp_path / "nothing") == []


def test_a_stop_request_takes_its_signals_back_from_whoever_took_them() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        stop = StopRequest()
        stop.keep_listening()
        assert signal.getsignal(signal.SIGTERM) == before[signal.SIGTERM], "it takes nothing that it was not given"
        stop.listen()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as ray.init and ray.shutdown do
        stop.keep_listening()
        signal.raise_signal(signal.SIGTERM)
        assert stop.reason == "asked to stop"
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

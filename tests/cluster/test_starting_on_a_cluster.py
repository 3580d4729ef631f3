"""A driver that a controller elsewhere has launched, on a node that lacks what it needs: that is no study's fault."""

import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray
from ray._private.utils import check_version_info

from schemas.trials import TrialState
from workers.cluster import grounds
from workers.cluster.__main__ import _drive, main
from workers.cluster.cluster_ray import CannotAttach, _first_cause
from workers.cluster.grounds import ThisMachine
from workers.cluster.heartbeat import Heartbeat
from workers.cluster.ray_processes import RayLost
from workers.cluster.stopping import StopRequest
from workers.launcher import EXIT_FAILED, EXIT_NO_CLUSTER, EXIT_NO_PLACE, EXIT_RAY_LOST
from workers.ledger.ledger import Ledger
from workers.places import DATABASE_URL, DATABASE_URL_FILE, LEDGER

STUDY = "0123456789abcdef"


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Its home."""
    monkeypatch.setattr(StopRequest, "listen", lambda self: None)
    for name in (DATABASE_URL, DATABASE_URL_FILE, LEDGER):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WARMUP_BENCH_HOME", str(tmp_path))
    before = list(logging.getLogger().handlers)
    yield tmp_path
    logging.getLogger().handlers = before


def test_a_node_that_names_no_database_is_no_fault_of_the_study(node: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["--study", STUDY, "--cluster"]) == EXIT_NO_PLACE
    assert f"{DATABASE_URL_FILE}: got nothing, allowed on each node" in caplog.text
    assert not list(node.iterdir()), "and no ledger is made that nobody looks at"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("postgresql://user:hush@host:no-port/name", "the database URL cannot be read"),
        ("://", "got something that is no URL"),
        ("hush", "got something that is no URL"),
    ],
)
def test_a_url_that_is_none_is_said_without_what_it_holds(text, said, node, monkeypatch, caplog) -> None:
    (node / "url").write_text(text)
    monkeypatch.setenv(DATABASE_URL_FILE, str(node / "url"))
    assert main(["--study", STUDY, "--cluster"]) == EXIT_NO_PLACE
    assert said in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize(("arguments", "status"), [(["--cluster"], EXIT_NO_PLACE), ([], EXIT_FAILED)])
def test_a_database_without_the_study_is_another_one_than_the_controllers(
    arguments, status, node, monkeypatch, caplog
) -> None:
    Ledger.open(node / "other.sqlite").close()
    monkeypatch.setenv(LEDGER, str(node / "other.sqlite"))
    assert main(["--study", STUDY, *arguments]) == status
    assert f"no study {STUDY} in this ledger" in caplog.text
    assert ("another database than the controller" in caplog.text) == (status == EXIT_NO_PLACE)


def test_a_head_of_another_python_is_said_with_both_versions_and_without_an_address() -> None:
    with pytest.raises(RuntimeError) as mismatch:
        check_version_info({"ray_version": "2.60.0", "python_version": "3.9.1"}, "node 192.0.2.9:7")
    here = f"Ray {ray.__version__} and Python {platform.python_version()}"
    assert _first_cause(mismatch.value) == f"its head has Ray 2.60.0 and Python 3.9.1, this node's driver {here}"


@pytest.mark.parametrize(
    ("error", "status"), [(CannotAttach("another token"), EXIT_NO_CLUSTER), (RayLost("it has ended"), EXIT_RAY_LOST)]
)
def test_a_cluster_that_will_not_have_the_driver_is_told_from_one_that_is_lost(
    error, status, make_house, monkeypatch
) -> None:
    house = make_house()

    @contextmanager
    def no_ray(*_: object) -> Iterator[None]:
        raise error
        yield

    monkeypatch.setattr(grounds, "local_ray", no_ray)
    heartbeat = Heartbeat.acquire(house.ledger, house.study.id)
    assert heartbeat is not None
    assert _drive(house.ledger, house.study.id, house.places, heartbeat, StopRequest(), ThisMachine(1)) == status
    head = house.ledger.study_head(house.study.id)
    assert (head.state, head.reason) == (TrialState.QUEUED, str(error))

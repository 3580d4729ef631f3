"""`serve --ray-address`: what it refuses at its start; as a process, what it leaves to the cluster when it ends."""

import sys
from pathlib import Path

import pytest

from service.cli.main import main
from tests.e2e.commands import wait_for
from tests.e2e.serving import serve
from tests.ledger.conftest import place, postgres_server  # noqa: F401  # fixtures
from tests.service.driving import FakeDriver, queued
from tests.service.fake_jobs_api import TOKEN, FakeCluster
from workers.ledger.ledger import Ledger

NO_DATABASE = "postgresql+psycopg://nobody:secret@127.0.0.1:1/x"


@pytest.fixture
def refused(capsys, monkeypatch, tmp_path):
    """What a `serve` that is refused says."""

    def run(*arguments: object) -> str:
        monkeypatch.setenv("WARMUP_BENCH_RECORDS", str(tmp_path / "records"))
        flags = ["--home", str(tmp_path / "home"), "--only", "controller", "--tracking-uri", "none"]
        monkeypatch.setattr(sys, "argv", ["warmup-bench", "serve", *flags, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        err = capsys.readouterr().err
        assert "secret" not in err
        return err

    return run


def test_a_cluster_that_will_not_have_us_is_refused_before_anything_is_opened(refused, monkeypatch, tmp_path):
    with FakeCluster().served() as url:
        flags = ("--ray-address", url, "--database-url", NO_DATABASE)
        assert "another token (401: Unauthorized: Missing authentication token), allowed a Ray head" in refused(*flags)
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        assert "RAY_AUTH_TOKEN_PATH: got nothing" in refused(*flags)
        (tmp_path / "token").write_text("a wrong one")
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
        assert "more than one word" in refused(*flags)
        (tmp_path / "token").write_text("wrong")
        assert "another token (403: Forbidden: Invalid authentication token)" in refused(*flags)
    with FakeCluster(token=None, ray_version="2.9.0").served() as url:
        assert "got " + url + ": Ray 2.9.0 there, Ray 2.60.0 here" in refused(
            "--ray-address", url, "--database-url", NO_DATABASE
        )
    with FakeCluster(token=None, python_version="3.9.1").served() as url:
        assert f"got {url}: Python 3.9.1 there, Python 3." in refused(
            "--ray-address", url, "--database-url", NO_DATABASE
        )
    assert not (tmp_path / "home" / "ledger.sqlite").exists()


def test_a_cluster_needs_a_ledger_that_its_nodes_reach_and_an_address_that_is_one(refused, monkeypatch):
    assert "--ray-address: got http://ray-head:8265, allowed with --database-url" in refused(
        "--ray-address", "http://ray-head:8265"
    )
    monkeypatch.setenv("WARMUP_BENCH_RAY_ADDRESS", "ray-head:8265")
    assert "--ray-address (WARMUP_BENCH_RAY_ADDRESS): got 'ray-head:8265'" in refused("--database-url", NO_DATABASE)
    monkeypatch.setenv("WARMUP_BENCH_START_TIMEOUT_S", "soon")
    assert "--start-timeout-s: got 'soon', allowed an integer" in refused("--database-url", NO_DATABASE)


@pytest.mark.proof
@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_a_controller_that_is_replaced_leaves_its_drivers_to_the_next_one(place, tmp_path: Path, monkeypatch):  # noqa: F811
    cluster = FakeCluster()
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    home = tmp_path / "home"
    with Ledger.open(place) as ledger, cluster.served() as url:
        flags = ("--only", "controller", "--records", tmp_path / "records", "--database-url", place)
        flags = (*flags, "--ray-address", url)
        (study_id,) = queued(ledger)
        with serve(home, *flags) as served:
            assert f"runs 8 studies at a time on {url}" in served.said()
            wait_for(lambda: cluster.of(study_id), "a job")
            wait_for((home / "controller.alive").is_file, "the end of its first round")
            cluster.jobs[f"study-{study_id}-a1"].status = "RUNNING"
            driver = FakeDriver(ledger, study_id).come_up()
            assert served.stop() == 0
            assert "running studies go on on the cluster" in served.said()
        assert not (home / "controller.alive").exists()
        assert ledger.study_head(study_id).state == "running"
        with serve(home, *flags) as served:
            wait_for(lambda: "adopted a driver" in served.said(), "adoption")
            driver.train()
            ledger.set_study_state(study_id, "done", fence=driver.fence)
            driver.end()
            cluster.jobs[f"study-{study_id}-a1"].end("SUCCEEDED", 0)
            wait_for(lambda: "a driver has ended" in served.said(), "its end")
            assert served.stop() == 0
        assert ledger.study_head(study_id).state == "done"
    assert [job.num_stops for job in cluster.jobs.values()] == [0]
    assert TOKEN not in served.said()

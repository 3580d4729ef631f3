"""Every command, module, address, variable and path that is deployed exists, in the code or beside it."""

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer.main

from schemas.study import parse_study
from service.app import ROUTERS
from service.cli.main import app
from service.spec_files import parse_document
from tests.deploy import compose_policies, kubernetes_policies
from tests.deploy.edges import open_edges
from tests.deploy.known_commands import refusal
from tests.deploy.reading import (
    BASE,
    GPU,
    JOB,
    ROOT,
    Json,
    compose,
    everything,
    pods,
    ray_clusters,
    rendered,
)

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
FILES = ("docker-compose.yml", "docker-compose.gpu.yml")
FOREIGN = {"pg_isready", "server"}
"""Of Postgres' image, and SeaweedFS' command."""


def container_lines(container: Json) -> Iterator[list[str]]:
    yield [*container.get("command", []), *container.get("args", [])]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        yield container.get(probe, {}).get("exec", {}).get("command", [])
    yield container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])


def compose_lines() -> Iterator[list[str]]:
    for service in compose(*FILES)["services"].values():
        yield service.get("command") or []
        yield service.get("healthcheck", {}).get("test", [])[1:]
        yield from (hook["command"] for hook in service.get("pre_stop") or [])


def kubernetes_lines() -> Iterator[list[str]]:
    for _, _, template in pods(everything()):
        for container in template["spec"]["containers"]:
            yield from container_lines(container)
    yield from (shlex.split(thing["spec"]["entrypoint"]) for thing in everything() if thing["kind"] == "RayJob")
    yield from kuberay_lines()


def image_lines() -> Iterator[list[str]]:
    yield from map(json.loads, re.findall(r"^CMD (.*)$", DOCKERFILE, flags=re.MULTILINE))


LINES = {"compose": compose_lines, "kubernetes": kubernetes_lines, "image": image_lines}
"""Where command lines stand -> those that are started, by whomever."""
everywhere = pytest.mark.parametrize("where", LINES)


def lines_of(program: str, where: str) -> list[list[str]]:
    return [line for line in LINES[where]() if line and line[0] == program]


@everywhere
def test_every_line_is_of_a_program_that_is_in_the_image(where):
    ours = {"warmup-bench", "mlflow", "ray", "python", "wget", "sleep"}  # sleep is Debian's
    assert {line[0] for line in LINES[where]() if line} <= ours | FOREIGN
    assert "install --yes --no-install-recommends wget" in DOCKERFILE


@everywhere
def test_warmup_bench_takes_its_lines(where):
    command = typer.main.get_command(app)
    lines = [words for words in lines_of("warmup-bench", where) if words[1:] != ["--help"]]
    assert lines or where == "image"
    assert [refused for words in lines if (refused := refusal(command, words))] == []


@pytest.mark.parametrize("words", ["serve --only neither", "serve --prot 1", "deploy", "keys create --name"])
def test_warmup_bench_can_refuse_a_line(words):
    assert refusal(typer.main.get_command(app), ["warmup-bench", *words.split()])


def kuberay_lines() -> list[list[str]]:
    """`ray start` as KubeRay makes it of `rayStartParams`, whose values go through a shell."""
    groups = [g for spec in ray_clusters(everything()) for g in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]
    return [
        shlex.split(" ".join(["ray start", *(f"--{name}={value}" for name, value in group["rayStartParams"].items())]))
        for group in groups
    ]


def test_a_driver_has_a_place_wherever_ray_is_started():
    started = [*lines_of("ray", "compose"), *lines_of("ray", "kubernetes")]
    resources = [word.partition("=")[2] for line in started for word in line if word.startswith("--resources=")]
    assert len(resources) >= 3
    assert all(json.loads(text) == {"warmup_driver": 4} for text in resources)


@pytest.mark.proof
def test_ray_and_mlflow_take_their_lines_and_can_refuse():
    lines = [words for where in LINES for program in ("ray", "mlflow") for words in lines_of(program, where)]
    assert len(lines) >= 8
    wrong = [["ray", "start", "--hed"], ["mlflow", "server", "--allowed-host=x"], ["mlflow", "db", "migrate"]]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-P", ROOT / "tests" / "deploy" / "known_commands.py"],
        input=json.dumps([*lines, *wrong]),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    refused = json.loads(done.stdout)
    assert [one for one in refused if "hed" not in one and "allowed-host" not in one and "migrate" not in one] == []
    assert len(refused) == len(wrong)


@everywhere
def test_python_has_the_modules_and_the_code_is_sound(where):
    lines = lines_of("python", where)
    assert {words[1] for words in lines} <= {"-P"}, "a folder of somebody's may have the name of one of our packages"
    modules = {words[3] for words in lines if words[2] == "-m"}
    assert {module for module in modules if find_spec(module) is None} == set()
    lock = (ROOT / "requirements-cpu.lock").read_text(encoding="utf-8")
    for words in lines:
        if words[2] == "-c":
            nodes = [node for node in ast.walk(ast.parse(words[3])) if isinstance(node, ast.Import)]
            assert all(re.search(rf"^{name.name}==", lock, re.MULTILINE) for node in nodes for name in node.names)


@cache
def site(path: str) -> str | None:
    """The text of a file of an installed package; None where the package is not installed."""
    package, _, rest = path.partition("/")
    spec = find_spec(package)
    if spec is None:
        return None
    return (Path(spec.submodule_search_locations[0]) / rest).read_bytes().decode("latin-1")


RAYLET = "ray/core/src/ray/raylet/raylet"
KNOWN_AT = {
    "RAY_AUTH_MODE": RAYLET,
    "RAY_AUTH_TOKEN_PATH": RAYLET,
    "RAY_USAGE_STATS_ENABLED": "ray/_common/usage/usage_constants.py",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "ray/_private/accelerators/accelerator.py",
    "RAY_ROTATION_MAX_BYTES": "ray/_private/node.py",
    "RAY_ROTATION_BACKUP_COUNT": "ray/_private/node.py",
    # RAY_name is what the raylet takes for its setting `name`
    "RAY_task_oom_retries": RAYLET,
    "RAY_worker_niceness": RAYLET,
    "MLFLOW_TRACKING_URI": "mlflow/environment_variables.py",
    "MLFLOW_DISABLE_TELEMETRY": "mlflow/environment_variables.py",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "mlflow/environment_variables.py",
    "MLFLOW_S3_ENDPOINT_URL": "mlflow/environment_variables.py",
    "AWS_ENDPOINT_URL": "botocore/configprovider.py",
    "AWS_DEFAULT_REGION": "botocore/configprovider.py",
    "AWS_SHARED_CREDENTIALS_FILE": "botocore/configprovider.py",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "botocore/configprovider.py",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "botocore/configprovider.py",
    "MPLCONFIGDIR": "matplotlib/__init__.py",
}
"""Variable -> the file of a locked package that reads it."""
ELSEWHERE = {
    *("PATH", "HOME", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"),
    *("PIP_NO_CACHE_DIR", "PIP_DISABLE_PIP_VERSION_CHECK", "PIP_NO_INPUT"),
    "PGSERVICEFILE",  # libpq
    *("POSTGRES_PASSWORD_FILE", "POSTGRES_INITDB_ARGS"),  # Postgres' image
    "NVIDIA_DRIVER_CAPABILITIES",  # NVIDIA's container toolkit
}


def compose_variables() -> set[str]:
    return {name for service in compose(*FILES)["services"].values() for name in service.get("environment") or {}}


def kubernetes_variables() -> set[str]:
    containers = [container for _, _, template in pods(everything()) for container in template["spec"]["containers"]]
    names = {variable["name"] for container in containers for variable in container.get("env", [])}
    named = {source["configMapRef"]["name"] for container in containers for source in container.get("envFrom", [])}
    maps = [thing for thing in everything() if thing["kind"] == "ConfigMap" and thing["metadata"]["name"] in named]
    return names | {name for thing in maps for name in thing["data"]}


def image_variables() -> set[str]:
    lines = re.findall(r"^ENV (.*)$", re.sub(r"\\\n", " ", DOCKERFILE), flags=re.MULTILINE)
    return {name for line in lines for name in re.findall(r"(\w+)=", line)}


VARIABLES = {"compose": compose_variables, "kubernetes": kubernetes_variables, "image": image_variables}


@cache
def read_by_our_code() -> set[str]:
    code = [path for room in ("schemas", "workers", "service") for path in (ROOT / room).rglob("*.py")]
    return {name for path in code for name in re.findall(r"[\"'](WARMUP_BENCH_\w+)[\"']", path.read_text("utf-8"))}


def is_read(name: str) -> bool:
    if name.startswith("WARMUP_BENCH_"):
        return name in read_by_our_code()
    if name in ELSEWHERE:
        return True
    place = KNOWN_AT.get(name)
    if place is None:
        return False
    text = site(place)
    # An optional package that is not here says nothing.
    return text is None or name in text or (place == RAYLET and name.removeprefix("RAY_") in text)


@everywhere
def test_somebody_reads_every_variable(where):
    names = VARIABLES[where]()
    assert names
    assert {name for name in names if not is_read(name)} == set()


def test_a_variable_that_nobody_reads_is_seen():
    assert not any(map(is_read, ("WARMUP_BENCH_RECORD", "RAY_AUTH_MODUS", "MLFLOW_SERVER_JOBS", "AWS_ENDPOINT")))


HEALTH = {
    "/api/gcs_healthz": "ray/dashboard/http_server_head.py",
    "/api/local_raylet_healthz": "ray/dashboard/http_server_agent.py",
    "/health": "mlflow/server/__init__.py",
}


def health_paths() -> set[tuple[str, str]]:
    """(service or component, path) of every check over HTTP."""
    found = set()
    for name, service in compose(*FILES)["services"].items():
        for word in service.get("healthcheck", {}).get("test", []):
            if match := re.fullmatch(r"http://127\.0\.0\.1:\d+(/\S+)", word):
                found.add((name, match[1]))
    for _, component, template in pods(everything()):
        for container in template["spec"]["containers"]:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if "httpGet" in container.get(probe, {}):
                    found.add((component, container[probe]["httpGet"]["path"]))
    return found


def test_every_path_that_is_asked_for_health_is_a_route():
    routes = {route.path for router in ROUTERS for route in router.routes}
    asked = health_paths()
    assert {name for name, _ in asked} == {"api", "mlflow", "ray-head", "ray-worker", "s3"}
    for name, path in asked:
        if name == "api":
            assert path in routes
        elif name != "s3":
            assert path in site(HEALTH[path])


ADDRESS = re.compile(r"(?<![\w.-])([a-z][a-z0-9-]*):(\d{2,5})(?!\d)")


def test_every_address_in_compose_is_a_service_that_listens_there_in_a_network_of_both():
    services = compose(*FILES)["services"]
    listens = {("postgres", "5432")} | {
        (name, port)
        for name, service in services.items()
        for word in service.get("command") or []
        for port in re.findall(r"(?:^|port=)(\d+)$", word)
    }
    seen = set()
    for name, service in services.items():
        texts = [*compose_policies.words(service), *map(str, (service.get("environment") or {}).values())]
        if any(secret["source"] in ("database_url", "mlflow_pg_service.conf") for secret in service.get("secrets", [])):
            texts.append("postgres:5432")
        for host, port in (found for text in texts for found in ADDRESS.findall(text)):
            if host != "localhost":
                seen.add((host, port))
                assert (host, port) in listens, f"{name} speaks to {host}:{port}"
                assert set(service["networks"]) & set(services[host]["networks"]), f"{name} cannot reach {host}"
    assert seen == {
        ("postgres", "5432"),
        ("s3", "9000"),
        ("mlflow", "5000"),
        ("ray-head", "8265"),
        ("ray-head", "6379"),
    }


def test_what_is_published_is_listened_to():
    for service in compose()["services"].values():
        for port in service.get("ports", []):
            assert any(re.search(rf"(^|=){port['target']}$", word) for word in service["command"])


@pytest.mark.parametrize("folder", [BASE, GPU])
def test_every_address_in_the_cluster_is_a_service_behind_an_open_edge(folder):
    objects = rendered(folder)
    doors = {
        (thing["metadata"]["name"], port["port"]): thing["spec"]["selector"]["app.kubernetes.io/component"]
        for thing in objects
        if thing["kind"] == "Service"
        for port in thing["spec"]["ports"]
    }
    doors |= {
        (f"{thing['metadata']['name']}-head-svc", 8265): "ray-head"
        for thing in objects
        if thing["kind"] == "RayCluster"
    }
    maps = {thing["metadata"]["name"]: thing["data"] for thing in objects if thing["kind"] == "ConfigMap"}
    edges, seen = open_edges(objects), set()
    for _, component, template in pods(objects):
        for container in template["spec"]["containers"]:
            texts = [*kubernetes_policies.words(container), *(v["value"] for v in container.get("env", []))]
            for source in container.get("envFrom", []):
                texts += maps[source["configMapRef"]["name"]].values()
            for host, port in (found for text in texts for found in ADDRESS.findall(text)):
                target = doors.get((host, int(port)))
                if host == "localhost" or target == component:
                    continue
                # The API is told where MLflow is, as all are, and never speaks to it.
                if (component, target) != ("api", "mlflow"):
                    seen.add(target)
                    assert (component, target, int(port)) in edges, f"{component} cannot reach {host}:{port}"
    assert seen == {"s3", "mlflow", "ray-head"}


def test_ports_of_services_and_probes_are_ports_of_their_containers():
    names = {
        component: {port["name"] for container in template["spec"]["containers"] for port in container.get("ports", [])}
        for _, component, template in pods(rendered(BASE))
    }
    for thing in rendered(BASE):
        if thing["kind"] == "Service":
            component = thing["spec"]["selector"]["app.kubernetes.io/component"]
            assert {port["targetPort"] for port in thing["spec"]["ports"]} <= names[component]


def test_every_file_that_compose_mounts_is_there_or_made():
    made = (ROOT / "tools" / "make_secrets.py").read_text(encoding="utf-8")
    model = compose(*FILES)
    for secret in model["secrets"].values():
        assert f'"{Path(secret["file"]).name}"' in made
    binds = {v["source"] for s in model["services"].values() for v in s.get("volumes", []) if v["type"] == "bind"}
    there = {Path(source).relative_to(ROOT) for source in binds}
    assert there == {Path("data"), Path("k8s/base/postgres-init.sh")}
    assert (ROOT / "k8s/base/postgres-init.sh").stat().st_mode & 0o111


def secret_files() -> dict[str, set[str]]:
    """Secret -> the files that the installation puts into it, as k8s/README.md says."""
    text = (ROOT / "k8s" / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"create secret generic ([\w-]+)((?: \\\n| +--from-file=\S+)+)", text)
    assert lines
    return {
        name: {word.replace("secrets/", "") for word in re.findall(r"--from-file=(\S+)", files)}
        for name, files in lines
    }


def test_every_secret_is_made_at_installation_with_the_files_that_are_asked_for():
    made = (ROOT / "tools" / "make_secrets.py").read_text(encoding="utf-8")
    there = {name: {file.partition("=")[0] for file in files} for name, files in secret_files().items()}
    for files in secret_files().values():
        assert all(f'"{file.partition("=")[2] or file}"' in made for file in files)
    asked: set[str] = set()
    for _, component, template in pods(everything()):
        mounted: set[str] = set()
        for volume in template["spec"].get("volumes", []):
            sources = [volume] if "secret" in volume else volume.get("projected", {}).get("sources", [])
            for source in (one["secret"] for one in sources):
                name = source.get("name") or source["secretName"]
                asked.add(name)
                items = {item["key"]: item["path"] for item in source.get("items", [])}
                assert set(items) <= there[name]
                mounted |= set(items.values()) or there[name]
        texts = json.dumps(template["spec"]["containers"])
        used = set(re.findall(r"/run/secrets/([\w.]+)", texts))
        if "places" in texts:
            used |= {"database_url", "s3_credentials"}
        assert used <= mounted, component
    asked |= {cluster["authOptions"]["secretName"] for cluster in ray_clusters(everything())}
    assert asked == set(there)


KINDS = ("deployment", "statefulset", "service", "job", "raycluster", "rayjob", "pvc")


def test_every_object_that_the_readme_names_is_there():
    text = (ROOT / "k8s" / "README.md").read_text(encoding="utf-8")
    there = {(thing["kind"].lower(), thing["metadata"]["name"]) for thing in everything()}
    there |= {("pvc", name) for kind, name in there if kind == "persistentvolumeclaim"}
    named = set(re.findall(rf"\b({'|'.join(KINDS)})/([a-z0-9-]+)(?![a-z0-9.-])", text))
    assert len({kind for kind, _ in named}) >= 5
    assert named <= there
    components = {component for _, component, _ in pods(everything())}
    labelled = set(re.findall(r"component=([a-z0-9-]+)", text))
    assert labelled
    assert labelled <= components


def test_the_study_of_the_job_is_one():
    [study] = [thing for thing in rendered(JOB) if thing["kind"] == "ConfigMap"]
    [(file, text)] = study["data"].items()
    assert parse_study(parse_document(text)).num_trials() == 75
    [job] = [thing for thing in rendered(JOB) if thing["kind"] == "RayJob"]
    [container] = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == study["metadata"]["name"]]
    assert job["spec"]["entrypoint"].split()[-1] == f"{mount['mountPath']}/{file}"


def test_the_buckets_that_are_made_are_those_that_are_used():
    codes = {words[3] for where in LINES for words in lines_of("python", where) if words[2] == "-c"}
    [made] = {frozenset(re.findall(r"'([\w-]+)'", code)) for code in codes}
    model = json.dumps(compose(*FILES)["services"]) + json.dumps(everything())
    assert set(re.findall(r"s3://([\w-]+)/", model)) == made

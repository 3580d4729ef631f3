"""The manifests: they render, Kubernetes and KubeRay know every field of them, and they keep the policies."""

import copy
import json
import re
import shutil
from functools import cache
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.deploy import kubernetes_policies as policies
from tests.deploy.edges import DNS, OPERATOR, WORLD, components, half_edges, open_edges, unguarded
from tests.deploy.reading import (
    BASE,
    FETCH_DATA,
    GPU,
    JOB,
    LOCAL,
    OVERLAYS,
    ROOT,
    SHARED,
    named,
    ray_clusters,
    rendered,
    run,
)
from workers.launcher import STOP_GRACE_S

FOLDERS = (*OVERLAYS, FETCH_DATA)
COMPONENTS = ("components/external-postgres", "components/external-s3")


@pytest.fixture(scope="module")
def kubernetes():
    return pytest.importorskip("kubernetes_validate.utils", reason="kubernetes-validate is not installed")


def problems(kubernetes, thing) -> str | None:
    return _problems(kubernetes, json.dumps(thing))


@cache
def _problems(kubernetes, text: str) -> str | None:
    """Overlays have most objects in common, and a validator takes its time."""
    thing = json.loads(text)
    try:
        kubernetes.validate(thing, kubernetes.latest_version(), strict=True)
    except kubernetes.ValidationError as error:
        return str(error)
    return None


@pytest.mark.parametrize("folder", FOLDERS)
def test_kubernetes_knows_every_field(folder, kubernetes):
    things = [thing for thing in rendered(folder) if not thing["apiVersion"].startswith("ray.io/")]
    assert things
    assert [problem for thing in things if (problem := problems(kubernetes, thing))] == []


def test_kubernetes_refuses_a_field_that_it_does_not_know(kubernetes):
    api = named(rendered(BASE), "Deployment", "api")
    api["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    assert "livenesProbe" in problems(kubernetes, api)


def ray_problems(thing) -> list[str]:
    path = SHARED / "k8s-schemas" / f"{thing['kind'].lower()}-v1.json"
    if not path.is_file():
        pytest.skip(f"no {path.name}: KubeRay's schemas are not here")
    validator = jsonschema.Draft202012Validator(json.loads(path.read_text(encoding="utf-8")))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(thing)]


@pytest.mark.parametrize(
    ("folder", "kind"), [(BASE, "RayCluster"), (LOCAL, "RayCluster"), (GPU, "RayCluster"), (JOB, "RayJob")]
)
def test_kuberay_knows_every_field(folder, kind):
    [thing] = [thing for thing in rendered(folder) if thing["apiVersion"] == "ray.io/v1"]
    assert thing["kind"] == kind
    assert ray_problems(thing) == []
    spec = next(ray_clusters([thing]))
    spec["headGroupSpec"]["rayStartParam"] = {}
    assert any("rayStartParam" in problem for problem in ray_problems(thing)), "it can refuse"


@pytest.mark.parametrize("policy", policies.POLICIES, ids=lambda policy: policy.__name__)
@pytest.mark.parametrize("folder", FOLDERS)
def test_it_keeps_the_policy(folder, policy):
    assert list(policy(rendered(folder))) == []


API, CONTROLLER, CLUSTER = ("Deployment", "api"), ("Deployment", "controller"), ("RayCluster", "warmup-bench")
POD, FIRST = "spec.template.spec", "spec.template.spec.containers.0"
HEAD, WORKER = "spec.headGroupSpec", "spec.workerGroupSpecs.0"
BROKEN = {
    "a tag that moves": (policies.images, API, f"{FIRST}.image", "warmup-bench:latest"),
    "no tag": (policies.images, CLUSTER, f"{WORKER}.template.spec.containers.0.image", "warmup-bench"),
    "root": (policies.privileges, API, f"{POD}.securityContext.runAsUser", 0),
    "perhaps root": (policies.privileges, CONTROLLER, f"{POD}.securityContext.runAsNonRoot", False),
    "every system call": (policies.privileges, API, f"{POD}.securityContext.seccompProfile", {"type": "Unconfined"}),
    "the machine's network": (policies.privileges, CLUSTER, f"{WORKER}.template.spec.hostNetwork", True),
    "a token": (policies.privileges, API, f"{POD}.automountServiceAccountToken", True),
    "a path of the machine's": (policies.privileges, API, f"{POD}.volumes", [{"name": "x", "hostPath": {"path": "/"}}]),
    "privileged": (policies.privileges, CLUSTER, f"{HEAD}.template.spec.containers.0.securityContext.privileged", True),
    "new privileges": (policies.privileges, API, f"{FIRST}.securityContext.allowPrivilegeEscalation", True),
    "capabilities": (policies.privileges, API, f"{FIRST}.securityContext.capabilities", {}),
    "a root that can be written": (
        policies.privileges,
        CLUSTER,
        "spec.autoscalerOptions.securityContext.readOnlyRootFilesystem",
        False,
    ),
    "no limits": (policies.limits, API, f"{FIRST}.resources", {"requests": {"cpu": 1, "memory": 1}}),
    "a limit below the request": (policies.limits, API, f"{FIRST}.resources.limits.memory", "1Mi"),
    "an autoscaler without limits": (policies.limits, CLUSTER, "spec.autoscalerOptions.resources", {}),
    "a folder without end": (policies.limits, API, f"{POD}.volumes", [{"name": "tmp", "emptyDir": {}}]),
    "no probe": (policies.probes, CLUSTER, f"{WORKER}.template.spec.containers.0.livenessProbe", None),
    "a password": (policies.secrets, API, f"{FIRST}.env", [{"name": "DB_PASSWORD", "value": "hunter2"}]),
    "a Secret as a variable": (
        policies.secrets,
        API,
        f"{FIRST}.env",
        [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "x", "key": "y"}}}],
    ),
    "a password in a command": (policies.secrets, API, f"{FIRST}.args", ["postgresql://me:pw@host/x"]),
    "a password among the places": (policies.secrets, ("ConfigMap", "places"), "data.AWS_SECRET_ACCESS_KEY", "abc"),
    "a Secret": (policies.secrets, ("ConfigMap", "places"), "kind", "Secret"),
    "MLflow for everybody": (policies.doors, ("Service", "mlflow"), "spec.type", "LoadBalancer"),
    "Ray for everybody": (policies.doors, CLUSTER, f"{HEAD}.serviceType", "NodePort"),
    "no token": (policies.ray, CLUSTER, "spec.authOptions.mode", "disabled"),
    "a head that works": (policies.ray, CLUSTER, f"{HEAD}.rayStartParams", {"num-gpus": "0"}),
    "no autoscaler": (policies.ray, CLUSTER, "spec.enableInTreeAutoscaling", False),
    "no place for a driver": (policies.ray, CLUSTER, f"{WORKER}.rayStartParams", {}),
    "no hook": (policies.ray, CLUSTER, f"{WORKER}.template.spec.containers.0.lifecycle", {}),
    "no time to save": (policies.ray, CLUSTER, f"{WORKER}.template.spec.terminationGracePeriodSeconds", 30),
    "one API": (policies.availability, API, "spec.replicas", 1),
    "an API that is sent to when it has closed": (policies.availability, API, f"{FIRST}.lifecycle", {}),
    "all APIs at once": (policies.availability, ("PodDisruptionBudget", "api"), "spec.minAvailable", 0),
}


def broken(which: tuple[str, str], path: str, value) -> list[dict]:
    objects = rendered(BASE)
    place = named(objects, *which)
    *way, last = path.split(".")
    for step in way:
        place = place[int(step)] if step.isdecimal() else place[step]
    place[last] = value
    return objects


@pytest.mark.parametrize(("policy", "which", "path", "value"), BROKEN.values(), ids=BROKEN)
def test_a_broken_copy_is_refused(policy, which, path, value):
    assert list(policy(broken(which, path, value)))


def test_every_policy_can_refuse():
    assert {policy for policy, *_ in BROKEN.values()} == set(policies.POLICIES)


USERS = {
    ("postgres", 5432): {"api", "controller", "migrate", "mlflow", "mlflow-migrate", "ray-worker"},
    ("s3", 9000): {"api", "controller", "buckets", "mlflow", "ray-worker"},
    ("mlflow", 5000): {"controller", "ray-worker"},
    ("api", 8000): {WORLD},
    ("ray-head", 8265): {"controller", OPERATOR},
    ("ray-head", "any"): {"ray-head", "ray-worker"},
    ("ray-worker", "any"): {"ray-head", "ray-worker"},
}
EDGES = {(user, to, port) for (to, port), users in USERS.items() for user in users}
EDGES |= {("ray-head", WORLD, 443), ("ray-head", WORLD, 6443)}


@pytest.mark.parametrize("folder", [BASE, LOCAL, GPU])
def test_nothing_is_open_but_the_edges_that_are_needed(folder):
    objects = rendered(folder)
    assert unguarded(objects) == set()
    assert half_edges(objects) == set()
    assert open_edges(objects) == EDGES | {(one, DNS, 53) for one in components(objects)}


def test_an_edge_too_many_or_one_that_misses_an_end_is_seen():
    objects = rendered(BASE)
    more = copy.deepcopy(objects)
    named(more, "NetworkPolicy", "to-ray-jobs")["spec"]["ingress"][0]["from"].append({"podSelector": {}})
    assert ("api", "ray-head", 8265) in half_edges(more)
    named(more, "NetworkPolicy", "users-of-ray-jobs")["spec"]["podSelector"] = {}
    assert ("api", "ray-head", 8265) in open_edges(more)
    without = [thing for thing in objects if thing["metadata"]["name"] != "default-deny"]
    assert "postgres" in unguarded(without)


def test_the_job_meets_the_policies_of_the_service():
    """Its pods carry the names that the NetworkPolicies know, and read from the same volumes, maps and Secrets."""
    assert components(rendered(JOB)) == {"ray-head", "ray-worker"}
    [job], [cluster] = (list(ray_clusters(rendered(folder))) for folder in (JOB, BASE))
    there, here = job["workerGroupSpecs"][0]["template"]["spec"], cluster["workerGroupSpecs"][0]["template"]["spec"]
    assert [volume for volume in there["volumes"] if volume["name"] != "study"] == here["volumes"]
    assert there["containers"][0]["envFrom"] == here["containers"][0]["envFrom"]
    assert job["authOptions"] == cluster["authOptions"]


def test_the_namespace_is_restricted():
    labels = named(rendered(BASE), "Namespace", "warmup-bench")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert all(
        thing["metadata"].get("namespace") == "warmup-bench" for thing in rendered(BASE) if thing["kind"] != "Namespace"
    )


def test_a_node_has_time_until_its_drivers_have_saved():
    assert policies.GRACE_S >= 2 * STOP_GRACE_S


def test_gpus_are_asked_for_by_one_group_without_drivers():
    [cluster] = ray_clusters(rendered(GPU))
    cpu, gpu = cluster["workerGroupSpecs"]
    [container] = gpu["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["image"].endswith("-cuda")
    assert "warmup_driver" not in str(gpu["rayStartParams"])
    assert gpu["minReplicas"] == 0
    assert "nvidia.com/gpu" not in str(cpu)


@pytest.mark.parametrize("folder", [BASE, LOCAL, GPU, JOB])
def test_drivers_know_how_far_the_cluster_may_grow(folder):
    """Ray's autoscaler reports it to nobody, and a driver asks for no more than it knows of."""
    [cluster] = ray_clusters(rendered(folder))
    first, *_ = groups = cluster["workerGroupSpecs"]
    said = {each["name"]: each.get("value") for each in first["template"]["spec"]["containers"][0]["env"]}
    limits = [(g["maxReplicas"], g["template"]["spec"]["containers"][0]["resources"]["limits"]) for g in groups]
    assert int(said["WARMUP_BENCH_MAX_TRAINERS"]) == limits[0][0] * int(limits[0][1]["cpu"])
    gpus = sum(number * int(limit.get("nvidia.com/gpu", 0)) for number, limit in limits)
    assert int(said.get("WARMUP_BENCH_MAX_GPUS", 0)) == gpus


def test_ray_is_the_version_of_the_lock():
    lock = (ROOT / "requirements-cpu.lock").read_text(encoding="utf-8")
    [version] = re.findall(r"^ray==(\S+)", lock, flags=re.MULTILINE)
    for folder in (BASE, JOB):
        assert [cluster["rayVersion"] for cluster in ray_clusters(rendered(folder))] == [version]


def overlaid(folder: Path, resources: list[str], **more) -> list[dict]:
    """What an overlay beside a copy of the files renders to."""
    shutil.copytree(ROOT / "k8s", folder / "k8s")
    (folder / "mine").mkdir()
    (folder / "mine" / "kustomization.yaml").write_text(json.dumps({"resources": resources} | more), encoding="utf-8")
    kubectl = shutil.which("kubectl") or pytest.skip("kubectl is not installed")
    done = run(kubectl, "kustomize", folder / "mine")
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def test_a_registry_of_ones_own_leaves_gpus_their_image(tmp_path):
    [(name, new)] = re.findall(
        r"kustomize edit set image ([\w-]+)=([\w/:-]+)", (ROOT / "k8s" / "README.md").read_text()
    )
    objects = overlaid(tmp_path, ["../k8s/overlays/gpu"], images=[{"name": name, "newName": new}])
    used = {container["image"] for _, _, _, container in policies.containers(objects)}
    assert {image for image in used if "warmup-bench" in image} == {f"{new}:0.1.0-cpu", f"{new}:0.1.0-cuda"}


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_store_of_ones_own_takes_the_place_of_ours(component, tmp_path, kubernetes):
    which = component.rpartition("-")[2]
    objects = overlaid(tmp_path, ["../k8s/base"], components=[f"../k8s/{component}"])
    assert not [
        thing for thing in objects if thing["kind"] in ("StatefulSet", "Service") and thing["metadata"]["name"] == which
    ]
    native = [thing for thing in objects if not thing["apiVersion"].startswith("ray.io/")]
    assert [problem for thing in native if (problem := problems(kubernetes, thing))] == []
    assert {to for user, to, _ in open_edges(objects) if user == "migrate" or user == "ray-worker"} >= {WORLD}
    assert which not in components(objects)

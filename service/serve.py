"""`serve`: one process with the API, the controller in a thread of it, or one of the two alone. No torch, no Ray."""

import contextlib
import gc
import ipaddress
import json
import os
import shlex
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from types import FrameType
from typing import Literal

import uvicorn
from fastapi import FastAPI

from schemas.errors import PlaceRefused, Problem, SpecError
from schemas.plugins import Group
from schemas.problems import show
from service.alive import Alive
from service.app import create_app
from service.config import SERVE_KEY
from service.controller import Controller, ControllerSettings
from service.launched import Launcher
from service.launching import LocalLauncher
from service.logs import configure_logging
from service.protocol import ProblemProtocol
from service.ray_address import FLAG, RayAddress
from service.ray_jobs import RayJobs, connect
from service.ray_launching import JobsLauncher
from service.settings import Settings, read_settings
from workers.cores import num_cores
from workers.inspecting import inspect_installed
from workers.ledger.ledger import Ledger
from workers.places import Places
from workers.shared_records import check_shared_records
from workers.studies import publish_data, publish_plugins

MAX_RUNNING, MAX_ON_CLUSTER = 2, 8
START_TIMEOUT_S = 600
"""Of a driver on a cluster: a node for it may have to be started first."""
LOCK = "serve.lock"
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that ask the service to end."""
KEY_OWNER = "local"
"""The owner of the key that a home gets, as of the studies that `run` makes there: both reuse each other's trials."""
END_S = 7.0
"""So long after it was asked to end the process is ended, if no driver is being saved."""
ANSWERS_S = 3
"""So long answers under way may take when the service ends. Live streams end at once."""


@dataclass(frozen=True)
class ServeOptions:
    """What is asked for on the command line."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int | None = None
    """Trainers of all running studies together."""
    database_url: str | None = None
    """None: embedded, with the home's own ledger."""
    max_running: int | None = None
    only: Literal["api", "controller"] | None = None
    plugins: tuple[tuple[Group, str], ...] = ()
    """Installed parts that studies may name."""
    ray: RayAddress | None = None
    """The cluster that drivers run on; None: this machine."""
    start_timeout_s: int | None = None
    """Of a driver on the cluster."""
    names_records: bool = True
    """Whether a place for the records was named: one of a database's processes must read what another has written."""

    @property
    def has_api(self) -> bool:
        """Whether it listens."""
        return self.only != "controller"

    @property
    def has_controller(self) -> bool:
        """Whether it runs studies."""
        return self.only != "api"

    @property
    def num_workers(self) -> int:
        """Trainers at most, where no card decides."""
        return self.workers or num_cores()

    @property
    def num_running(self) -> int:
        """Studies under way at a time."""
        return self.max_running or (MAX_ON_CLUSTER if self.ray else min(MAX_RUNNING, self.num_workers))

    def check(self) -> None:
        """Raise SpecError for what cannot be meant."""
        problems = []
        if self.database_url is None and not _is_loopback(self.host):
            allowed = (
                "127.0.0.1, ::1 or localhost: an embedded service speaks in the clear and is for this machine. For"
                " others, put a proxy with TLS before it, or give --database-url and keep the network private"
            )
            problems.append(Problem("--host", repr(self.host), allowed))
        if self.database_url is not None and not self.database_url.startswith("postgresql"):
            kind = show(f"{self.database_url.partition('://')[0]}://...")  # the rest may hold a password
            problems.append(Problem("--database-url", kind, "postgresql+psycopg://HOST/DATABASE"))
        if self.database_url is not None and not self.names_records:
            allowed = "a folder or s3:// that every process of this database sees (--records, WARMUP_BENCH_RECORDS)"
            problems.append(Problem("--records", "none", allowed))
        if self.ray is not None and self.database_url is None:
            allowed = "with --database-url or WARMUP_BENCH_DATABASE_URL_FILE: drivers on other machines need its ledger"
            problems.append(Problem(FLAG, self.ray.url, allowed))
        if self.start_timeout_s is not None and self.start_timeout_s < 1:
            problems.append(Problem("--start-timeout-s", str(self.start_timeout_s), "1 or more"))
        if not 0 <= self.port <= 65535:
            problems.append(Problem("--port", str(self.port), "0 (any free one) to 65535"))
        if self.workers is not None and self.workers < 1:
            problems.append(Problem("--workers", str(self.workers), "1 or more"))
        elif self.ray is not None and self.only == "controller" and self.workers is not None:
            there = "trainers run on the cluster, and WARMUP_BENCH_MAX_TRAINERS on its nodes bounds them"
            allowed = f"nothing beside {FLAG}: {there}"
            problems.append(Problem("--workers", str(self.workers), allowed))
        elif self.ray is not None and self.max_running is not None and self.max_running < 1:
            problems.append(Problem("--max-running", str(self.max_running), "1 or more"))
        elif self.ray is None and self.max_running is not None and not 1 <= self.max_running <= self.num_workers:
            allowed = f"1 to {self.num_workers}, the number of trainers (--workers): each study needs one"
            problems.append(Problem("--max-running", str(self.max_running), allowed))
        if problems:
            raise SpecError(problems)


def serve(options: ServeOptions, places: Places, say: Callable[[str], None]) -> None:
    """Serve until asked to end (SIGTERM, SIGINT); studies that are under way then are saved and queued.

    Raises:
        SpecError, PlaceError: it cannot be served as asked; nothing has been started.
    """
    options.check()
    places = replace(places, ledger=options.database_url or places.ledger)
    settings = read_settings(places, options.workers)
    configure_logging()
    with ExitStack() as stack:
        jobs = connect(options.ray, time.monotonic, say) if options.ray and options.has_controller else None
        lock = stack.enter_context(_only_one(places.home)) if options.has_controller else None
        listener = stack.enter_context(_listening(options.host, options.port)) if options.has_api else None
        url = _url(listener) if listener is not None else None
        if lock is not None:
            lock(url)
        ledger = stack.enter_context(Ledger.open(places.ledger))
        if options.database_url is not None:
            check_shared_records(ledger, places.records)
        if options.has_controller:
            publish_data(ledger, places.data)
            publish_plugins(ledger, inspect_installed(options.plugins))
        key = _embedded_key(ledger, places.home, say) if options.database_url is None and options.has_api else None
        launcher: Launcher | None = None
        if options.has_controller:
            launcher = _launcher(options, settings.places, ledger, jobs)
        _run(options, settings, ledger, listener, launcher, _Ready(options, ledger, url, key, say))


def _launcher(options: ServeOptions, places: Places, ledger: Ledger, jobs: RayJobs | None) -> Launcher:
    if jobs is None:
        return LocalLauncher(places, options.workers)
    return JobsLauncher(jobs, places, lambda study_id: ledger.study_head(study_id).attempt, time.monotonic)


def _run(
    options: ServeOptions,
    settings: Settings,
    ledger: Ledger,
    listener: socket.socket | None,
    launcher: Launcher | None,
    ready: "_Ready",
) -> None:
    stop = threading.Event()
    server = _Server(create_app(settings, ledger), ready) if listener is not None else None
    controller, alive = None, Alive(settings.places.home)
    if launcher is not None:
        limits = ControllerSettings(max_running=options.num_running)
        if options.ray is not None:
            limits = replace(limits, start_s=options.start_timeout_s or START_TIMEOUT_S)
        controller = Controller(ledger, launcher, limits, on_round=alive.note)

    def on_signal(number: int, frame: FrameType | None) -> None:
        if server is not None:
            server.should_exit = True
        if controller is not None:
            controller.stop_soon()
        stop.set()

    for number in ENDING:
        signal.signal(number, on_signal)
    reconciling = threading.Thread(target=controller.run, name="controller") if controller is not None else None
    if reconciling is not None:
        reconciling.start()
    threading.Thread(target=_end_in_time, args=(stop, reconciling), name="end in time", daemon=True).start()
    try:
        if server is not None and listener is not None:
            server.run(sockets=[listener])
        else:
            ready()
            stop.wait()
    finally:
        if controller is not None and reconciling is not None:
            controller.stop_soon()
            if controller.num_drivers and options.ray is not None:
                ready.say("stopping: running studies go on on the cluster")
            elif controller.num_drivers:
                ready.say("stopping: running studies are saved, and continue when this home is served again ...")
            reconciling.join()
            alive.end()
        for number in ENDING:  # while the interpreter ends, one more would count as a death by it
            signal.signal(number, signal.SIG_IGN)
        ready.say("stopped")


def _end_in_time(stop: threading.Event, reconciling: threading.Thread | None) -> None:
    """End the process once drivers are saved, though a thread still works on an answer that nobody will have.

    A large study that is being read or expanded cannot be interrupted; of one that is cut off, nothing is kept.
    """
    stop.wait()
    time.sleep(END_S)
    if reconciling is not None:
        reconciling.join()
        time.sleep(1.0)  # for the ordinary end
    os._exit(0)


def uvicorn_config(app: FastAPI) -> uvicorn.Config:
    """How the API is served. Requests are logged by the application."""
    return uvicorn.Config(
        app,
        http=ProblemProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=ANSWERS_S,
    )


class _Server(uvicorn.Server):
    """Says when it listens, and leaves signals alone: the controller is to hear them too."""

    def __init__(self, app: FastAPI, ready: Callable[[], None]) -> None:
        super().__init__(uvicorn_config(app))
        self._app, self._ready = app, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # What is there by now stays: to go through it would stop all requests for a quarter of a second, ever again.
        gc.collect()
        gc.freeze()
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Before answers are waited for: a stream is one that never comes, and would be cut in the middle. No door is
        # open by then, or listeners would come back to a service that is about to end.
        for server in self.servers:
            server.close()
        await self._app.state.live.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True)
class _Ready:
    """Tells a person, once it listens, where it is and what to do next."""

    options: ServeOptions
    ledger: Ledger
    url: str | None
    key: Path | None
    say: Callable[[str], None]

    def __call__(self) -> None:
        if self.options.has_controller:
            waiting = len(self.ledger.claimable(1_000)) + len(self.ledger.abandoned())
            goes_on = f"; {waiting} that were left go on" if waiting else ""
            num = self.options.num_running
            studies = "one study" if num == 1 else f"{num} studies"
            trainers = "1 trainer" if self.options.num_workers == 1 else f"{self.options.num_workers} trainers"
            where = self.options.ray.url if self.options.ray else trainers
            self.say(f"runs {studies} at a time on {where}{goes_on}")
        if self.url is None:
            self.say("ready")
            return
        secret = f"$(cat {shlex.quote(str(self.key))})" if self.key else "$KEY"
        self.say(f"ready: {self.url}   (docs: {self.url}/v1/openapi.json)")
        self.say(f'  curl -H "Authorization: Bearer {secret}" {self.url}/v1/studies')
        if self.key is None:
            self.say("  a key: `warmup-bench keys create --name NAME --scope read --scope submit --database-url ...`")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _only_one(home: Path) -> Iterator[Callable[[str | None], None]]:
    """Hold the home's lock; gives a function that notes the address in it. The kernel frees it when this process ends.

    Raises:
        PlaceRefused: another process holds it.
    """
    # Not truncated before it is held: the holder's note is what is shown.
    with (home / LOCK).open("a+", encoding="utf-8") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise PlaceRefused(_served_already(home, file.read())) from None

        def note(url: str | None) -> None:
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "url": url}))
            file.flush()

        note(None)
        yield note
        file.truncate(0)


def _served_already(home: Path, note: str) -> str:
    who = "by another process"
    with contextlib.suppress(ValueError):
        holder = json.loads(note)
        who = f"by process {holder['pid']}" + (f" at {holder['url']}" if holder["url"] else "")
    return f"--home: {home} is served already {who}; stop that one, or name another home"


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that is bound, so that nothing is started for a port that cannot be had.

    Raises:
        SpecError: it cannot.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise SpecError(
            [Problem("--host", repr(host), f"a name or address of this machine ({error.strerror})")]
        ) from error
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            # Now, not when the API is up: of two that are bound alike, only one may listen.
            listener.listen(2048)
        except OSError as error:
            allowed = f"one that can be listened on at {host} ({error.strerror}); --port 0 takes any that is free"
            raise SpecError([Problem("--port", str(port), allowed)]) from error
        yield listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _embedded_key(ledger: Ledger, home: Path, say: Callable[[str], None]) -> Path:
    """The file with a key of all scopes, made where there is none that works."""
    path = home / SERVE_KEY
    if path.is_file():
        path.chmod(0o600)
        if ledger.key_by_secret(path.read_text(encoding="utf-8").strip()) is not None:
            say(f"key: {path}")
            return path
        say(f"the key in {path} is revoked, or of another ledger: it gets a new one")
    _, secret = ledger.create_key("serve", ("read", "submit", "admin"), KEY_OWNER)
    partial = path.with_name(f"{SERVE_KEY}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{secret}\n")
    partial.replace(path)
    say(f"key: {path} (made now, with every scope; only you may read it)")
    return path

"""A Jobs API without a Ray: jobs start and end when a test says so.

It speaks as `ray start --head` of Ray 2.60.0 with RAY_AUTH_MODE=token did, asked with curl:

- Without a token 401 `Unauthorized: Missing authentication token`, with another one 403 `Forbidden: Invalid
  authentication token`, on every path; text/plain both.
- `GET /api/version`: 200 `{"version": "4", "ray_version": "2.60.0", "ray_commit": ..., "session_name": ...}`.
- `GET /api/authentication_mode`: 200 `{"authentication_mode": "token"}`, or `disabled`.
- `GET /api/v0/cluster_metadata`: 200 `{"result": true, "msg": "", "data": {"rayVersion": "2.60.0", "pythonVersion":
  "3.11.7", "rayInitCluster": false}}`.
- `POST /api/jobs/`: 200 `{"job_id": ID, "submission_id": ID}`; an id that there is, in whatever state: 500, text/plain,
  a traceback whose last words are `Job with submission_id ID already exists. Please use a different submission_id.`; an
  unknown field: 400 and a traceback.
- `GET /api/jobs/ID`: 200 with `status`, `message`, `error_type`, `driver_exit_code` and more; 404 `Job ID does not
  exist`. PENDING while it waits for resources; RUNNING; SUCCEEDED with exit code 0; FAILED with the entrypoint's exit
  code (-9 or, through a shell, 137 for a killed one) and a message that ends with the end of its log; STOPPED, then
  without an exit code, also where the entrypoint would have had one. FAILED without an exit code where the supervisor
  could not start within RAY_JOB_START_TIMEOUT_SECONDS (900) or died with its node.
- `POST /api/jobs/ID/stop`: 200 `{"stopped": true}`, also for a job that has ended, and for one that is PENDING, which
  stays so: it is stopped when it gets its resources. 404 for an unknown one.
"""

import json
import platform
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

JSON, TEXT = "application/json; charset=utf-8", "text/plain; charset=utf-8"
TOKEN = "a-token-of-the-cluster"
FIELDS = {"submission_id", "entrypoint", "entrypoint_num_cpus", "entrypoint_resources", "runtime_env", "metadata"}


@dataclass
class FakeJob:
    """One submission."""

    request: dict[str, Any]
    status: str = "PENDING"
    exit_code: int | None = None
    error_type: str | None = None
    message: str = "Job has not started yet."
    num_stops: int = 0

    def end(self, status: str, exit_code: int | None = None, error_type: str | None = None) -> None:
        self.status, self.exit_code, self.error_type = status, exit_code, error_type
        self.message = f"Job entrypoint command failed with exit code {exit_code}, last available logs:\na line of it\n"


@dataclass
class FakeCluster:
    """What a head knows. `broken` replaces every answer: an exception, or (status, text)."""

    token: str | None = TOKEN
    ray_version: str = "2.60.0"
    python_version: str = platform.python_version()
    metadata_page: tuple[int, str] | None = None
    """In the place of the page that tells it."""
    jobs: dict[str, FakeJob] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    broken: Exception | tuple[int, str] | None = None
    loses_answers: bool = False
    """A submission is taken, and its answer lost."""

    def of(self, study_id: str) -> list[str]:
        """Ids of the study's jobs, oldest first."""
        return [name for name in self.jobs if name.startswith(f"study-{study_id}-")]

    def replace_head(self) -> None:
        self.jobs.clear()

    def answer(self, method: str, path: str, authorization: str | None, body: bytes) -> tuple[int, str, str]:
        """Status, content type, text."""
        self.asked.append((method, path))
        if isinstance(self.broken, Exception):
            raise self.broken
        if self.broken is not None:
            return self.broken[0], TEXT, self.broken[1]
        if self.token is not None and authorization != f"Bearer {self.token}":
            if authorization is None:
                return 401, TEXT, "Unauthorized: Missing authentication token"
            return 403, TEXT, "Forbidden: Invalid authentication token"
        if (method, path) == ("GET", "/api/version"):
            return 200, JSON, json.dumps({"version": "4", "ray_version": self.ray_version})
        if path == "/api/authentication_mode":
            return 200, JSON, json.dumps({"authentication_mode": "token" if self.token else "disabled"})
        if path == "/api/v0/cluster_metadata":
            if self.metadata_page is not None:
                return self.metadata_page[0], TEXT, self.metadata_page[1]
            data = {"rayVersion": self.ray_version, "pythonVersion": self.python_version, "rayInitCluster": False}
            return 200, JSON, json.dumps({"result": True, "msg": "", "data": data})
        if (method, path) == ("POST", "/api/jobs/"):
            return self._submitted(json.loads(body))
        name = path.removeprefix("/api/jobs/").removesuffix("/stop")
        if name not in self.jobs:
            return 404, TEXT, f"Job {name} does not exist"
        if method == "POST":
            return self._stopped(self.jobs[name])
        job = self.jobs[name]
        found = {
            "type": "SUBMISSION",
            "job_id": None,
            "submission_id": name,
            "status": job.status,
            "entrypoint": job.request["entrypoint"],
            "message": job.message,
            "error_type": job.error_type,
            "driver_exit_code": job.exit_code,
        }
        return 200, JSON, json.dumps(found)

    def _submitted(self, request: dict[str, Any]) -> tuple[int, str, str]:
        if unknown := request.keys() - FIELDS:
            return 400, TEXT, f"Traceback ...\nTypeError: JobSubmitRequest got unexpected {unknown}\n"
        name = request["submission_id"]
        if name in self.jobs:
            said = f"Job with submission_id {name} already exists. Please use a different submission_id."
            return 500, TEXT, f"Traceback (most recent call last):\nValueError: {said}\n.\n"
        self.jobs[name] = FakeJob(request)
        if self.loses_answers:
            raise httpx.ReadTimeout("timed out")
        return 200, JSON, json.dumps({"job_id": name, "submission_id": name})

    def _stopped(self, job: FakeJob) -> tuple[int, str, str]:
        job.num_stops += 1
        if job.status == "RUNNING":
            job.end("STOPPED")
        return 200, JSON, json.dumps({"stopped": True})

    def transport(self) -> httpx.MockTransport:
        """For a client in this process."""

        def handle(request: httpx.Request) -> httpx.Response:
            given = (request.method, request.url.path, request.headers.get("Authorization"), request.content)
            status, kind, text = self.answer(*given)
            return httpx.Response(status, headers={"Content-Type": kind}, text=text)

        return httpx.MockTransport(handle)

    @contextmanager
    def served(self, tls: ssl.SSLContext | None = None) -> Iterator[str]:
        """Its address, for another process or a client as it is."""
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                given = (self.command, self.path, self.headers.get("Authorization"), self.rfile.read(length))
                status, kind, text = cluster.answer(*given)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()

"""An MLflow server on loopback that answers every call after a while with what a new, empty server would say.

`python slow_tracker.py DELAY_S` prints its port. It keeps nothing: it is there to be waited for.
"""

import json
import sys
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

API = "/api/2.0/mlflow/"


class Handler(BaseHTTPRequestHandler):
    """Answers each request after `delay_s`."""

    delay_s = 0.0
    protocol_version = "HTTP/1.1"
    calls = 0

    def do_GET(self) -> None:
        """Reads: there is nothing yet."""
        self._answer()

    def do_POST(self) -> None:
        """Writes: accepted."""
        self._answer()

    do_PUT = do_PATCH = do_DELETE = do_POST

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing on stderr."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        time.sleep(self.delay_s)
        type(self).calls += 1
        status, answer = reply(self.path, body)
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        # A publisher that is told to end does not wait for its answer.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(text)


def reply(path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """Status and answer of one call."""
    if path.split("?")[0] == "/calls":
        return 200, {"calls": Handler.calls}
    call = path.split("?")[0].removeprefix(API)
    if call == "experiments/get-by-name":
        return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}
    if call == "experiments/create":
        return 200, {"experiment_id": "1"}
    if call in ("runs/create", "runs/get", "runs/update"):
        run = _run(json.loads(body) if body else {})
        return 200, {"run": run, "run_info": run["info"]}
    return 200, {}


def _run(asked: dict[str, Any]) -> dict[str, Any]:
    run_id = asked.get("run_id") or uuid4().hex
    info = {
        "run_id": run_id,
        "run_uuid": run_id,
        "experiment_id": "1",
        "status": asked.get("status", "RUNNING"),
        "start_time": asked.get("start_time", 0),
        "artifact_uri": f"mlflow-artifacts:/1/{run_id}/artifacts",
        "lifecycle_stage": "active",
    }
    return {"info": info, "data": {"tags": asked.get("tags", [])}}


if __name__ == "__main__":
    Handler.delay_s = float(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()

"""A server of raw answers on a real socket: what a client meets when something stands between it and warmup-bench."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

CUT = b""
"""Takes the request, and closes without a word."""


def answer(body: Any = b"", *, status: str = "200 OK", kind: str = "application/json", **headers: str) -> bytes:
    """The bytes of one answer; `headers` with _ for -."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"Content-Type": kind, "Content-Length": str(len(data)), "Connection": "close"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in named.items() if value), "", ""]
    return "\r\n".join(lines).encode() + data


def problem(status: int, code: str, detail: str = "", **members: Any) -> bytes:
    """A refusal as warmup-bench writes it."""
    headers = {name: members.pop(name) for name in ("Retry_After",) if name in members}
    body = {"type": "x", "title": code, "status": status, "detail": detail, "code": code, "request_id": "r_1"} | members
    return answer(body, status=f"{status} X", kind="application/problem+json", **headers)


@dataclass
class Script:
    """The answers to come, the last one again and again; and what was asked."""

    answers: list[bytes]
    requests: list[str] = field(default_factory=list)
    """Request line and headers."""
    bodies: list[bytes] = field(default_factory=list)
    url: str = ""

    def header(self, name: str, index: int = -1) -> str | None:
        """A header of one of the requests."""
        for line in self.requests[index].split("\r\n")[1:]:
            found, _, value = line.partition(": ")
            if found.lower() == name.lower():
                return value
        return None


@contextmanager
def scripted(*answers: bytes) -> Iterator[Script]:
    """A server that gives these answers in order, one a connection."""
    script = Script(list(answers))

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            lines = []
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                lines.append(line.decode().rstrip("\r\n"))
            if not lines:
                return
            script.requests.append("\r\n".join(lines))
            script.bodies.append(self.rfile.read(int(script.header("Content-Length") or 0)))
            self.wfile.write(script.answers.pop(0) if len(script.answers) > 1 else script.answers[0])

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()

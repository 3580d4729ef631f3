"""What holds for every request: an id, safe headers, a bounded body, a log line, a count, and an answer in any case."""

import asyncio
import re
import time
import uuid
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Asked

from service.codes import Code
from service.errors import ApiProblem, as_problem, problem_response
from service.metrics import UNMATCHED, Metrics

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
RETRY_STOPPING_S = 5
MAX_LOGGED = 64
"""Characters of what callers wrote that come into one line of the log."""
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
"""Where a route says otherwise (a report brings its own policy), it holds."""

log = structlog.get_logger("warmup_bench.http")


class RequestContext:
    """The outermost layer: whatever happens inside, the request is answered, logged and counted, under its id."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Asked, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, answer)
            except asyncio.CancelledError:
                # The service ends, and this has had its time. Raised, it would be a traceback in the log.
                if answer.status is None:
                    problem = ApiProblem(Code.STOPPING, "send it again", headers={"Retry-After": str(RETRY_STOPPING_S)})
                    await problem_response(scope, problem)(scope, receive, answer)
            except Exception as error:
                log.exception("request failed", path=scope["path"][:1000], method=scope["method"])
                if answer.status is None:
                    await problem_response(scope, as_problem(error))(scope, receive, answer)
                else:
                    raise  # half of an answer is sent: only closing the connection says that it is no whole one
            finally:
                self._note(scope, answer, time.perf_counter() - started)

    def _note(self, scope: Asked, answer: "_Answer", seconds: float) -> None:
        route = getattr(scope.get("route"), "path_format", UNMATCHED)
        status = answer.status or 499  # the caller left before there was an answer
        self.metrics.answered(scope["method"], route, status, seconds, is_stream=answer.is_stream)
        log.info(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
            **_whom(scope),
        )


class BodyLimit:
    """Refuses bodies that are too large, said or not, and compressed ones, whose size says nothing."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Asked, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        problem = self._refusal(headers)
        if problem is not None:
            await problem_response(scope, problem)(scope, receive, send)
            return
        num_bytes = 0

        async def counted() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > self.max_bytes:
                raise self._too_large(f"more than {self.max_bytes}")
            return message

        await self.app(scope, counted, send)

    def _refusal(self, headers: Headers) -> ApiProblem | None:
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", ""):
            said = {"Accept-Encoding": "identity"}
            return ApiProblem(Code.ENCODING_UNSUPPORTED, "send the body as it is, not compressed", headers=said)
        length = headers.get("content-length", "0")
        if not re.fullmatch(r"[0-9]{1,18}", length):
            return ApiProblem(Code.BAD_HEADER, "Content-Length: allowed a number of bytes")
        return self._too_large(length) if int(length) > self.max_bytes else None

    def _too_large(self, got: str) -> ApiProblem:
        return ApiProblem(Code.BODY_TOO_LARGE, f"body: got {got} bytes, allowed at most {self.max_bytes}")


class _Answer:
    """Passes the answer on, with the headers that every answer has, and remembers its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self._request_id = send, request_id
        self.status: int | None = None
        self.is_stream = False

    async def __call__(self, message: Message) -> None:
        """ASGI send."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._request_id
            self.is_stream = headers.get("content-type", "").startswith("text/event-stream")
            for name, value in SAFE_HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


def _request_id(scope: Asked) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _whom(scope: Asked) -> dict[str, Any]:
    """Key and study of a request, as far as it came to have them."""
    state = scope["state"]
    principal = state.get("principal")
    study_id = scope.get("path_params", {}).get("study_id") or state.get("study_id") or ""
    said = {"key_id": principal and principal.key_id, "study_id": study_id[:MAX_LOGGED]}
    return {name: value for name, value in said.items() if value}

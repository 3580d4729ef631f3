"""How everything that goes wrong is answered: one shape, application/problem+json (RFC 9457), for all routes."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from schemas.errors import (
    CorruptRecord,
    DataMissing,
    IdempotencyConflict,
    PlaceError,
    Problem,
    QuotaExceeded,
    SpecError,
    StudyNotFound,
    WarmupBenchError,
    WrongState,
)
from schemas.problems import show
from service.codes import Code
from service.strict_json import to_json

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:warmup-bench:problem:"
RETRY_UNAVAILABLE_S = 5
MAX_ERRORS = 100
"""Refused fields that one answer lists."""

_CODE_OF: Mapping[type[WarmupBenchError], Code] = {
    SpecError: Code.SPEC_REFUSED,
    DataMissing: Code.DATA_MISSING,
    WrongState: Code.WRONG_STATE,
    StudyNotFound: Code.STUDY_NOT_FOUND,
    IdempotencyConflict: Code.IDEMPOTENCY_KEY_REUSED,
}
"""Errors whose message is meant for the caller."""
_INNER: Mapping[type[WarmupBenchError], tuple[Code, str]] = {
    PlaceError: (Code.LEDGER_UNAVAILABLE, "nothing was lost; try again in a few seconds"),
    CorruptRecord: (Code.RECORD_CORRUPT, "the operator of this service can tell which, by the request id"),
}
"""Errors whose message names this machine's places: it goes to the log only."""
_CODE_OF_STATUS = {404: Code.ROUTE_NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED, 413: Code.BODY_TOO_LARGE}

log = structlog.get_logger("warmup_bench.http")


class ApiProblem(Exception):
    """A request that is refused: a code, what is wrong and what to do next, and the fields in question."""

    def __init__(
        self,
        code: Code,
        detail: str,
        errors: Sequence[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.code, self.detail, self.errors, self.headers = code, detail, tuple(errors), dict(headers or {})
        super().__init__(f"{code}: {detail}")


def problem_response(scope: Scope, problem: ApiProblem) -> Response:
    """The answer to a refused request."""
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + problem.code,
        "title": problem.code.heading,
        "status": problem.code.status,
        "detail": problem.detail,
        "code": str(problem.code),
        "request_id": scope.get("state", {}).get("request_id", ""),
    }
    if problem.errors:
        body["errors"] = [{"field": one.field, "got": one.got, "allowed": one.allowed} for one in problem.errors]
    return Response(to_json(body), problem.code.status, problem.headers, MEDIA_TYPE)


def as_problem(error: Exception, quota_retry_s: int = 30) -> ApiProblem:
    """What the caller is told of an error. Of one that nobody foresaw: nothing but the request id."""
    if isinstance(error, ApiProblem):
        return error
    if isinstance(error, QuotaExceeded):
        return _quota_problem(error, quota_retry_s)
    if isinstance(error, SpecError):
        count = len(error.problems)
        each = "each" if count <= MAX_ERRORS else f"the first {MAX_ERRORS}"
        said = f"{count} problem{'s' if count > 1 else ''}: errors says field, got and allowed of {each}"
        return ApiProblem(Code.SPEC_REFUSED, said, error.problems[:MAX_ERRORS])
    for kind, code in _CODE_OF.items():
        if isinstance(error, kind):
            return ApiProblem(code, str(error))
    for kind, (code, detail) in _INNER.items():
        if isinstance(error, kind):
            retry = {"Retry-After": str(RETRY_UNAVAILABLE_S)} if code.status == HTTPStatus.SERVICE_UNAVAILABLE else {}
            return ApiProblem(code, detail, headers=retry)
    return ApiProblem(Code.INTERNAL, "the request id finds what happened in the service's log")


def add_handlers(app: FastAPI, allowed_methods: Any) -> None:
    """Answer every kind of error in the one shape. What nobody foresaw is answered by the outermost middleware.

    Args:
        allowed_methods: scope -> the methods of every route at its path.
    """

    def of_program(request: Request, error: Exception) -> Response:
        problem = as_problem(error, request.app.state.settings.retry_after_s)
        if problem.code.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("refused", code=str(problem.code), error=f"{type(error).__name__}: {error}")
        return problem_response(request.scope, problem)

    def of_parameters(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        problems = [_parameter_problem(details) for details in error.errors()]
        detail = "; ".join(str(one) for one in problems)
        return problem_response(request.scope, ApiProblem(Code.INVALID_PARAMETER, detail, problems))

    def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _CODE_OF_STATUS.get(error.status_code, Code.BAD_REQUEST)
        headers = dict(error.headers or {})
        if code is Code.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(sorted(allowed_methods(request.scope)))
        detail = {
            Code.ROUTE_NOT_FOUND: "the API begins at /v1; GET /v1/openapi.json lists its routes",
            Code.METHOD_NOT_ALLOWED: f"got {request.method}, allowed {headers.get('Allow', '')}",
        }.get(code, str(error.detail))
        return problem_response(request.scope, ApiProblem(code, detail, headers=headers))

    app.add_exception_handler(ApiProblem, of_program)
    app.add_exception_handler(WarmupBenchError, of_program)
    app.add_exception_handler(RequestValidationError, of_parameters)
    app.add_exception_handler(HTTPException, of_http)


def _quota_problem(error: QuotaExceeded, retry_s: int) -> ApiProblem:
    refused = Problem(f"quota.{error.quota}", f"{error.used} + {error.asked}", f"at most {error.allowed}")
    if not error.can_ever_fit:
        return ApiProblem(Code.QUOTA_NEVER_FITS, str(error), [refused])
    return ApiProblem(Code.QUOTA_EXCEEDED, str(error), [refused], {"Retry-After": str(retry_s)})


def _parameter_problem(details: Mapping[str, Any]) -> Problem:
    place = [str(part) for part in details["loc"][1:]] or [str(part) for part in details["loc"]]
    got = "nothing" if details["type"] == "missing" else show(details.get("input"))
    said = str(details["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    allowed = {
        "extra_forbidden": "no parameter of this name",
        "missing": "a value: it is required",
        "timezone_aware": "a time with a zone, as in 2026-01-31T12:00:00Z",
        "string_pattern_mismatch": "a text without NUL characters",
    }
    return Problem(".".join(place), got, allowed.get(details["type"], said[:1].lower() + said[1:]))

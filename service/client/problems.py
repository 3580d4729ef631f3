"""Reads the refusal in an answer: RFC 9457 where warmup-bench wrote it, a status and a few words where a proxy did."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from schemas.errors import Problem
from service.client.errors import Refusal, printable

PROBLEM = "application/problem+json"


def refusal_of(response: httpx.Response) -> Refusal:
    """What an answer with a status of 400 and more says. Never fails, whatever came."""
    found = _document(response)
    request_id = _text(found.get("request_id")) or response.headers.get("X-Request-ID")
    status = response.status_code
    if not found:
        kind = printable(response.headers.get("Content-Type", "").partition(";")[0], 60) or "nothing"
        detail = f"answered {status} {response.reason_phrase} with {kind}: not warmup-bench's own words"
        return Refusal(status, f"http_{status}", detail=detail, request_id=request_id, retry_after_s=_wait(response))
    return Refusal(
        status,
        _text(found.get("code")) or f"http_{status}",
        _text(found.get("title")),
        _text(found.get("detail")),
        tuple(_problem(item) for item in _list(found.get("errors")) if isinstance(item, dict)),
        request_id,
        _wait(response),
    )


def _document(response: httpx.Response) -> dict[str, Any]:
    if response.headers.get("Content-Type", "").partition(";")[0].strip().lower() != PROBLEM:
        return {}
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _problem(item: Mapping[str, Any]) -> Problem:
    return Problem(*(printable(str(item.get(name, ""))) for name in ("field", "got", "allowed")))


def _wait(response: httpx.Response) -> float | None:
    """Retry-After in seconds: a number, or a date."""
    said = response.headers.get("Retry-After")
    if said is None:
        return None
    if said.strip().isdecimal():
        return float(said)
    try:
        at = parsedate_to_datetime(said)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

"""What OpenAPI says of the answers that no resource describes: problems, and headers that more than one route has."""

from typing import Any

from service.codes import Code
from service.errors import MEDIA_TYPE, TYPE_PREFIX

PROBLEM = "Problem"
EVENT = "StudyEvent"

REQUEST_ID = {"description": "What the log of the service calls this request.", "schema": {"type": "string"}}
NEXT_LINK = {"description": '`<URL>; rel="next"` where more follows.', "schema": {"type": "string"}}
LOCATION = {"description": "Where the study is.", "schema": {"type": "string"}}
ETAG = {"description": "The study's version, for If-None-Match and If-Match.", "schema": {"type": "string"}}
RETRY_AFTER = {"description": "Seconds after which to try again.", "schema": {"type": "integer", "minimum": 1}}
CHALLENGE = {"description": "How to authenticate.", "schema": {"type": "string"}}

STUDY = "Study"
_STUDY_CONTENT = {
    "schema": {"$ref": f"#/components/schemas/{STUDY}"},
    "examples": {"quickstart": {"$ref": "#/components/examples/quickstart"}},
}
STUDY_BODY: dict[str, Any] = {
    "requestBody": {
        "description": "The study itself.",
        "required": True,
        "content": {"application/json": _STUDY_CONTENT, "application/yaml": _STUDY_CONTENT},
    }
}
"""`openapi_extra=` of a route that takes a study."""

_HEADERS_OF: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": CHALLENGE},
    403: {"WWW-Authenticate": CHALLENGE},
    405: {"Allow": {"description": "The methods of this route.", "schema": {"type": "string"}}},
    429: {"Retry-After": RETRY_AFTER},
    503: {"Retry-After": RETRY_AFTER},
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route for the problems that it can answer, beside those that every route can."""
    return {status: _problem(status) for status in sorted({*statuses, 405, 413, 415, 500, 503})}


def _problem(status: int) -> dict[str, Any]:
    codes = [code for code in Code if code.status == status]
    said = "; ".join(f"`{code}`: {code.heading[:1].lower()}{code.heading[1:]}" for code in codes)
    examples = {str(code): {"summary": code.heading, "value": example(code)} for code in codes}
    schema = {"$ref": f"#/components/schemas/{PROBLEM}"}
    content = {MEDIA_TYPE: {"schema": schema, "examples": examples}}
    return {"description": said, "content": content, "headers": _HEADERS_OF.get(status, {})}


def example(code: Code) -> dict[str, Any]:
    """A problem of that code."""
    said = {
        "type": TYPE_PREFIX + code,
        "title": code.heading,
        "status": code.status,
        "detail": "what is wrong, and what to do next",
        "code": str(code),
        "request_id": "0d9d3c0a6f0e4d0f9a54f5f6d2c1b7a8",
    }
    if code is Code.SPEC_REFUSED:
        refused = {"field": "optimizers[0].momentum", "got": "1.2", "allowed": "below 1"}
        said |= {"detail": "1 problem: errors says field, got and allowed of each", "errors": [refused]}
    return said


def problem_schema() -> dict[str, Any]:
    """The shape of every problem (RFC 9457)."""
    text = {"type": "string"}
    field = dict.fromkeys(("field", "got", "allowed"), text)
    return {
        "title": PROBLEM,
        "description": "Why a request was refused (RFC 9457). `code` is stable.",
        "type": "object",
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": text,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": text,
            "code": {"type": "string", "enum": [str(code) for code in Code]},
            "request_id": text,
            "errors": {
                "description": "The refused fields, where there are any.",
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": field,
                    "required": list(field),
                    "additionalProperties": False,
                },
            },
        },
        "required": ["type", "title", "status", "detail", "code", "request_id"],
        "additionalProperties": False,
    }

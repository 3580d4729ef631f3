"""The OpenAPI 3.1 document of the service: what FastAPI finds, the shape of problems, and that of a study."""

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from schemas.json_schema import study_json_schema
from schemas.presets import preset_text
from service.documented import EVENT, PROBLEM, STUDY, problem_schema
from service.errors import MEDIA_TYPE
from service.examples import examples
from service.routes.events import event_schema
from service.spec_files import parse_document

DESCRIPTION = """Learning-rate-warmup studies: submit one, follow it, read what it found.

Every route under /v1 needs `Authorization: Bearer KEY`. Whatever goes wrong is answered as application/problem+json
(RFC 9457) with a stable `code`. Numbers that are not finite are the strings "NaN", "Infinity", "-Infinity"."""

_FASTAPI_ERRORS = ("HTTPValidationError", "ValidationError")
_STUDY_ID, _FIRST_ID = "$response.body#/id", "$response.body#/items/0/id"
_LINKS = (
    *(
        ("submit_study", "202", target, "study_id", _STUDY_ID)
        for target in ("get_study", "list_trials", "cancel_study", "extend_study", "follow_study_events")
    ),
    ("list_studies", "200", "get_study", "study_id", _FIRST_ID),
    ("list_trials", "200", "get_trial", "trial_id", _FIRST_ID),
    ("list_trials", "200", "read_trial_records", "trial_id", _FIRST_ID),
)
"""(operation, status of its answer, operation that may follow, its parameter, where the answer has it)."""


def document(app: FastAPI) -> dict[str, Any]:
    """The document; made at the first call, then kept."""
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title, version=version("warmup-bench"), description=DESCRIPTION, routes=app.routes
        )
        operations = [operation for path in found["paths"].values() for operation in path.values()]
        components = found["components"]
        components["responses"] = _shared_problems(operations)
        for name in _FASTAPI_ERRORS:
            components["schemas"].pop(name, None)
        components["schemas"] |= {PROBLEM: problem_schema(), EVENT: event_schema(), **_study_schemas()}
        components["examples"] = {
            "quickstart": {"summary": "The quickstart study.", "value": parse_document(preset_text("quickstart"))}
        }
        _link(operations)
        _exemplify(operations)
        app.openapi_schema = found
    return app.openapi_schema


def _shared_problems(operations: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Problems as components that every operation refers to; those that FastAPI made up itself are left out."""
    shared: dict[str, Any] = {}
    for operation in operations:
        for status, response in list(operation["responses"].items()):
            content = response.get("content", {})
            if MEDIA_TYPE in content:
                shared.setdefault(f"{PROBLEM}{status}", response)
                operation["responses"][status] = {"$ref": f"#/components/responses/{PROBLEM}{status}"}
            elif status == "422":
                del operation["responses"][status]
    return shared


def _link(operations: Iterable[dict[str, Any]]) -> None:
    """Say which answer has the id that which other operation takes."""
    by_id = {operation["operationId"]: operation for operation in operations}
    for source, status, target, parameter, expression in _LINKS:
        links = by_id[source]["responses"][status].setdefault("links", {})
        links[target] = {"operationId": target, "parameters": {parameter: expression}}


def _exemplify(operations: Iterable[dict[str, Any]]) -> None:
    """Show what each operation answers where all is well."""
    for operation in operations:
        found = examples()[operation["operationId"]]
        for status, response in operation["responses"].items():
            for media_type, content in response.get("content", {}).items():
                if status.startswith("2") and media_type in found:
                    content["examples"] = {"quickstart": {"value": found[media_type]}}


def _study_schemas() -> dict[str, Any]:
    """The schema of a study and its parts, as components `Study` and `Study.PART`."""
    schema = study_json_schema()
    schema.pop("$schema")
    parts = schema.pop("$defs")
    return {STUDY: _referring(schema)} | {f"{STUDY}.{name}": _referring(part) for name, part in parts.items()}


def _referring(node: Any) -> Any:
    if isinstance(node, list):
        return [_referring(item) for item in node]
    if not isinstance(node, dict):
        return node
    said = {key: _referring(value) for key, value in node.items()}
    reference = node.get("$ref")
    if isinstance(reference, str):
        said["$ref"] = reference.replace("#/$defs/", f"#/components/schemas/{STUDY}.")
    return said

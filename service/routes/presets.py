"""The routes of presets: the studies that ship with the program."""

from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from schemas.presets import preset_names, preset_text
from schemas.problems import did_you_mean, show
from service.codes import Code
from service.cursors import bad_cursor, seal, unseal
from service.documented import NEXT_LINK, problems
from service.errors import ApiProblem
from service.negotiation import negotiated
from service.parameters import ONCE, PageQuery
from service.preset_descriptions import preset_description
from service.resources import PresetPage, PresetResource, page_of
from service.routes import answer, next_link
from service.security import Reader
from service.spec_files import parse_document

LIST = "presets"
JSON, YAML = "application/json", "application/yaml"

router = APIRouter(prefix="/v1", tags=["presets"])


@router.get(
    "/presets",
    operation_id="list_presets",
    dependencies=[ONCE],
    response_model=PresetPage,
    responses={200: {"headers": {"Link": NEXT_LINK}}, **problems(400, 401, 403, 422)},
)
def list_presets(request: Request, caller: Reader, query: Annotated[PageQuery, Query()]) -> Response:
    """The studies that ship with the program."""
    names = list(preset_names())
    first = 0 if query.cursor is None else _behind(query.cursor, names)
    page = names[first : first + query.limit]
    following = seal(LIST, page[-1]) if first + query.limit < len(names) else None
    return answer(page_of(map(_described, page), following), headers=next_link(request, following))


@router.get(
    "/presets/{name:id}",
    operation_id="get_preset",
    response_model=dict,
    responses={
        200: {"description": "The study document.", "content": {YAML: {"schema": {"type": "string"}}}},
        **problems(401, 403, 404, 406),
    },
)
def get_preset(
    name: str, caller: Reader, accept: Annotated[str | None, Header(include_in_schema=False)] = None
) -> Response:
    """One of them, to change and to submit: as JSON, or as YAML with its comments (by Accept)."""
    known = list(preset_names())
    if name not in known:
        raise ApiProblem(Code.PRESET_NOT_FOUND, f"no preset {show(name)}{did_you_mean(name, known)}")
    if negotiated(accept, (JSON, YAML)) == YAML:
        return Response(preset_text(name), media_type=YAML)
    return answer(_document(name))


def _behind(cursor: str, names: list[str]) -> int:
    last = unseal(LIST, cursor)
    if last not in names:
        raise bad_cursor(cursor)
    return names.index(last) + 1


def _described(name: str) -> PresetResource:
    return PresetResource(name=name, description=preset_description(name))


@cache
def _document(name: str) -> dict[str, Any]:
    """Read once: the presets are part of the program."""
    document: dict[str, Any] = parse_document(preset_text(name))
    return document

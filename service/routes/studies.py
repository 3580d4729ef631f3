"""The routes of studies: submit, plan, cancel, list, get."""

import re
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from schemas.trials import TrialState
from service import studies
from service.bodies import SpecBody
from service.documented import ETAG, LOCATION, NEXT_LINK, STUDY_BODY, problems
from service.parameters import ONCE, IdempotencyKey, PageQuery, Text
from service.resources import (
    PlanResource,
    StudyPage,
    StudyResource,
    StudyWithSpec,
    page_of,
    study_resource,
    study_with_spec,
)
from service.routes import answer, next_link
from service.security import LedgerOf, Reader, SettingsOf, Submitter
from workers.ledger.inputs import Idempotency

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}.*")


def _written_out(value: str) -> str:
    """A number is no time, though pydantic would take it for seconds since 1970."""
    if not _TIME.fullmatch(value):
        raise ValueError("a time with a zone, as in 2026-01-31T12:00:00Z")
    return value


Time = Annotated[AwareDatetime, BeforeValidator(_written_out)]
IfMatch = Annotated[
    str | None, Header(alias="If-Match", description="Cancel only if the study is still of this version.")
]

router = APIRouter(prefix="/v1", tags=["studies"])


class SubmitQuery(BaseModel):
    """Parameters of a submission."""

    model_config = ConfigDict(extra="forbid")

    priority: Annotated[int, Field(ge=-100, le=100, description="Higher ones begin earlier.")] = 0


class ListQuery(PageQuery):
    """Which studies, and how many at a time."""

    state: Annotated[TrialState | None, Field(description="Only studies in this state.")] = None
    name: Annotated[Text | None, Field(description="A whole name, or the beginning of one and `*`.")] = None
    created_after: Annotated[Time | None, Field(description="Only studies that were made later.")] = None
    created_before: Annotated[Time | None, Field(description="Only studies that were made earlier.")] = None

    def wanted(self) -> studies.StudyFilter:
        """The filter alone."""
        after: datetime | None = self.created_after
        return studies.StudyFilter(self.state, self.name, after, self.created_before)


@router.post(
    "/studies",
    operation_id="submit_study",
    dependencies=[ONCE],
    status_code=202,
    response_model=StudyResource,
    responses={202: {"headers": {"Location": LOCATION}}, **problems(400, 401, 403, 409, 422, 429)},
    openapi_extra=STUDY_BODY,
)
def submit_study(
    request: Request,
    caller: Submitter,
    key: IdempotencyKey,
    ledger: LedgerOf,
    settings: SettingsOf,
    query: Annotated[SubmitQuery, Query()],
    body: SpecBody,
) -> Response:
    """Queue a study. It is in the ledger when this answers; no work has begun."""
    with request.app.state.in_flight.claimed(caller.owner, key):
        row, replayed = studies.submit(
            ledger,
            settings,
            caller,
            body.document(settings.limits),
            priority=query.priority,
            idempotency=None if key is None else Idempotency(key, body.sha256(query.priority)),
        )
    request.state.study_id = row.id
    said = {"Location": f"/v1/studies/{row.id}"} | ({"Idempotency-Replayed": "true"} if replayed else {})
    return answer(study_resource(row), 202, said)


@router.post(
    "/studies:plan",
    operation_id="plan_study",
    response_model=PlanResource,
    responses=problems(400, 401, 403, 422),
    openapi_extra=STUDY_BODY,
)
def plan_study(caller: Submitter, ledger: LedgerOf, settings: SettingsOf, body: SpecBody) -> Response:
    """What a study will cost, and every default written out; nothing is kept."""
    return answer(studies.plan(ledger, settings, caller, body.document(settings.limits)))


@router.post(
    "/studies/{study_id:id}:cancel",
    operation_id="cancel_study",
    status_code=202,
    response_model=StudyResource,
    responses={202: {"headers": {"ETag": ETAG}}, **problems(400, 401, 403, 404, 412)},
)
def cancel_study(study_id: str, caller: Submitter, ledger: LedgerOf, if_match: IfMatch = None) -> Response:
    """Ask for a study to end; what is finished is kept. Of a final study, nothing changes."""
    row = studies.cancel(ledger, caller, study_id, if_match)
    return answer(study_resource(row), 202, {"ETag": studies.etag(row.version)})


@router.get(
    "/studies",
    operation_id="list_studies",
    dependencies=[ONCE],
    response_model=StudyPage,
    responses={200: {"headers": {"Link": NEXT_LINK}}, **problems(400, 401, 403, 422)},
)
def list_studies(request: Request, caller: Reader, ledger: LedgerOf, query: Annotated[ListQuery, Query()]) -> Response:
    """Studies, the newest first."""
    rows, following = studies.list_studies(ledger, caller, query.wanted(), query.limit, query.cursor)
    return answer(page_of(map(study_resource, rows), following), headers=next_link(request, following))


@router.get(
    "/studies/{study_id:id}",
    operation_id="get_study",
    response_model=StudyWithSpec,
    responses={
        200: {"headers": {"ETag": ETAG}},
        304: {"description": "The study is still of that version.", "headers": {"ETag": ETAG}},
        **problems(401, 403, 404),
    },
)
def get_study(
    study_id: str,
    caller: Reader,
    ledger: LedgerOf,
    if_none_match: Annotated[
        str | None, Header(alias="If-None-Match", description="An ETag: 304 while the study has it.")
    ] = None,
) -> Response:
    """A study, its spec included."""
    row = studies.visible_study(ledger, caller, study_id)
    said: dict[str, Any] = {"ETag": studies.etag(row.version)}
    if if_none_match is not None and studies.matches(if_none_match, row.version):
        return Response(status_code=304, headers=said)
    return answer(study_with_spec(row), headers=said)

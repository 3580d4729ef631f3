"""GET /v1/trials/{id}/records: a trial's rows of one table, as JSON pages or as Parquet."""

from functools import partial
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import Problem
from service.codes import Code
from service.documented import NEXT_LINK, problems
from service.errors import ApiProblem
from service.negotiation import negotiated
from service.parameters import ONCE
from service.record_pages import RecordPages, as_parquet, selection_of
from service.resources import Resource
from service.routes import answer, next_link
from service.security import LedgerOf, Reader
from service.strict_json import Number
from service.studies import visible_trial

JSON, PARQUET = "application/json", "application/vnd.apache.parquet"
DEFAULT_JSON_ROWS, MAX_JSON_ROWS = 50, 1_000
MAX_PARQUET_ROWS = 250_000
"""Of one answer, which is also what one has where no limit is asked for."""
MAX_STEP = 10**15

router = APIRouter(prefix="/v1", tags=["trials"])


class RecordQuery(BaseModel):
    """Which rows."""

    model_config = ConfigDict(extra="forbid")

    table: Literal["steps", "evaluations", "probes", "events", "timings"] = "steps"
    columns: str | None = Field(
        None, description="Names with commas between; all where left out.", examples=["step,train_loss"]
    )
    first_step: int | None = Field(None, ge=0, le=MAX_STEP)
    last_step: int | None = Field(None, ge=0, le=MAX_STEP, description="Inclusive.")
    every: int | None = Field(None, ge=1, le=MAX_STEP, description="Only steps that this number divides.")
    limit: int | None = Field(
        None,
        ge=1,
        le=MAX_PARQUET_ROWS,
        description=f"JSON: {DEFAULT_JSON_ROWS} by default, at most {MAX_JSON_ROWS:,}; Parquet: {MAX_PARQUET_ROWS:,}.",
    )
    cursor: str | None = Field(None, description="`next` of the page before, asked for with the same parameters.")


class RecordRows(Resource):
    """One page of rows. Columns and their units are those of the result folder's tables."""

    items: list[dict[str, Number | int | bool | str]]
    next: str | None
    """The cursor of what follows; null where there are no more rows now (a trial that runs will have more)."""


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Rows by step. Numbers that are not finite are strings in JSON and real in Parquet.",
        "model": RecordRows,
        "content": {PARQUET: {"schema": {"type": "string", "format": "binary"}}},
        "headers": {"Link": NEXT_LINK},
    }
}


@router.get(
    "/trials/{trial_id:id}/records",
    operation_id="read_trial_records",
    dependencies=[ONCE],
    response_class=Response,
    responses=_ANSWERS | problems(400, 401, 403, 404, 406, 422),
)
async def read_trial_records(
    request: Request, trial_id: str, query: Annotated[RecordQuery, Query()], principal: Reader, ledger: LedgerOf
) -> Response:
    """What a trial has recorded so far, also while it trains; the same rows after it is done.

    JSON pages or one Parquet file, by Accept. Pages stay where they are while rows are added.
    """
    # Not in the threads that every route shares: long reads wait for each other, and for nobody else.
    pages: RecordPages = request.app.state.record_pages
    work = partial(_answer, request, trial_id, query, principal, ledger, pages)
    return await to_thread.run_sync(work, limiter=pages.limiter)


def _answer(
    request: Request, trial_id: str, query: RecordQuery, principal: Reader, ledger: LedgerOf, pages: RecordPages
) -> Response:
    trial = visible_trial(ledger, principal, trial_id)
    media_type = negotiated(request.headers.get("accept"), (JSON, PARQUET))
    asked = query.model_dump() | {"limit": _limit(query.limit, media_type)}
    page = pages.read(trial, selection_of(asked.pop("table"), asked.pop("columns"), **asked))
    headers = {"Vary": "Accept", **next_link(request, page.next)}
    if media_type == PARQUET:
        return Response(as_parquet(query.table, page.rows), headers=headers, media_type=PARQUET)
    return answer({"items": page.rows.to_pylist(), "next": page.next}, headers=headers)


def _limit(asked: int | None, media_type: str) -> int:
    if media_type == PARQUET:
        return asked or MAX_PARQUET_ROWS
    if asked is not None and asked > MAX_JSON_ROWS:
        problem = Problem("limit", str(asked), f"1 to {MAX_JSON_ROWS} rows of JSON; Parquet may have more")
        raise ApiProblem(Code.INVALID_PARAMETER, str(problem), [problem])
    return asked or DEFAULT_JSON_ROWS

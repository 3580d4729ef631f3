"""GET /v1/studies/{id}/report: a study's answer as a page, as JSON, or in words."""

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from service.documented import problems
from service.negotiation import negotiated
from service.reports import Report, Reports
from service.security import LedgerOf, Reader
from service.studies import visible_head

FILE_OF = {"application/json": "report.json", "text/html": "report.html", "text/plain": "verdict.txt"}
"""The first one is what one has who asks for none."""
PAGE_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
)
"""The page's own scripts draw its figures; whatever a spec might have smuggled in reaches neither network nor keys."""

router = APIRouter(prefix="/v1", tags=["studies"])

_TEXT = {"schema": {"type": "string"}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The report: a page that needs no network, its data as JSON, or the verdict in words.",
        "content": {"application/json": {"schema": {"type": "object"}}, "text/html": _TEXT, "text/plain": _TEXT},
        "headers": {"ETag": {"description": "The report's version, for If-None-Match.", "schema": {"type": "string"}}},
    },
    304: {"description": "The report is still the one that If-None-Match names."},
}


@router.get(
    "/studies/{study_id:id}/report",
    operation_id="get_study_report",
    response_class=Response,
    responses=_ANSWERS | problems(401, 403, 404, 406, 422, 500, 503),
)
async def get_study_report(request: Request, study_id: str, principal: Reader, ledger: LedgerOf) -> Response:
    """The report of a study, finished or not, as text/html, application/json or text/plain, by Accept.

    One of a half-done study is written when it is asked for, and is then handed out for some seconds (the longer, the
    longer it took to write); 503 with Retry-After: it is still being written.
    """
    study = await run_in_threadpool(visible_head, ledger, principal, study_id)
    media_type = negotiated(request.headers.get("accept"), tuple(FILE_OF))
    reports: Reports = request.app.state.reports
    report = await reports.get(study)
    headers = {"ETag": _tag(report, media_type), "Vary": "Accept", "Cache-Control": "private, no-cache"}
    if media_type == "text/html":
        headers |= {"Content-Security-Policy": PAGE_POLICY, "X-Content-Type-Options": "nosniff"}
    if _has(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    content = await run_in_threadpool((report.folder / FILE_OF[media_type]).read_bytes)
    return Response(content, headers=headers, media_type=media_type)


def _tag(report: Report, media_type: str) -> str:
    return f'W/"{report.version}-{FILE_OF[media_type].partition(".")[2]}"'


def _has(if_none_match: str, tag: str) -> bool:
    tags = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return bool(tags & {"*", tag.removeprefix("W/")})

"""GET /v1/studies/{id}/log, /v1/trials/{id}/log: what the driver has said, and what a trial's pack that failed."""

from typing import Any

from fastapi import APIRouter, Request, Response

from service.codes import Code
from service.documented import problems
from service.errors import ApiProblem
from service.security import LedgerOf, Reader
from service.studies import visible_head, visible_trial
from service.study_logs import MOST_BYTES, StudyLogs

router = APIRouter(prefix="/v1", tags=["studies"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": f"The end of the log, {MOST_BYTES:,} bytes at most.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}


@router.get(
    "/studies/{study_id:id}/log",
    operation_id="get_study_log",
    response_class=Response,
    responses=_ANSWERS | problems(401, 403, 404),
)
def get_study_log(request: Request, study_id: str, caller: Reader, ledger: LedgerOf) -> Response:
    """The log of the driver that runs the study now, or ran it last; on a cluster it is some seconds behind."""
    study = visible_head(ledger, caller, study_id)
    return _answer(_logs(request).of_study(study.id), "the study has no driver yet, or its log is not kept here")


@router.get(
    "/trials/{trial_id:id}/log",
    operation_id="get_trial_log",
    response_class=Response,
    responses=_ANSWERS | problems(401, 403, 404),
)
def get_trial_log(request: Request, trial_id: str, caller: Reader, ledger: LedgerOf) -> Response:
    """What the attempts at the trial have said that failed; one that has gone well has no log of its own."""
    trial = visible_trial(ledger, caller, trial_id)
    return _answer(_logs(request).of_trial(trial), "no attempt at this trial has failed; its driver's is the study's")


def _answer(text: str | None, why: str) -> Response:
    if text is None:
        raise ApiProblem(Code.LOG_NOT_FOUND, why)
    headers = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    return Response(text, headers=headers, media_type="text/plain")


def _logs(request: Request) -> StudyLogs:
    logs: StudyLogs = request.app.state.logs
    return logs

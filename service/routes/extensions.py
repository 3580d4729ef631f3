"""The route that extends a study."""

from fastapi import APIRouter
from starlette.responses import Response

from service.bodies import SpecBody
from service.documented import LOCATION, STUDY_BODY, problems
from service.extensions import extend
from service.resources import ExtendedStudy, extended_study
from service.routes import answer
from service.security import LedgerOf, SettingsOf, Submitter

router = APIRouter(prefix="/v1", tags=["studies"])


@router.post(
    "/studies/{study_id:id}:extend",
    operation_id="extend_study",
    status_code=202,
    response_model=ExtendedStudy,
    responses={202: {"headers": {"Location": LOCATION}}, **problems(400, 401, 403, 404, 409, 422, 429)},
    openapi_extra=STUDY_BODY,
)
def extend_study(study_id: str, caller: Submitter, ledger: LedgerOf, settings: SettingsOf, body: SpecBody) -> Response:
    """Add the trials of a wider spec that the study lacks; the body is the whole of it. Repeating adds nothing."""
    found = extend(ledger, settings, caller, study_id, lambda: body.document(settings.limits))
    resource = extended_study(found.row, found.round, found.num_new)
    return answer(resource, 202, {"Location": f"/v1/studies/{found.row.id}"})

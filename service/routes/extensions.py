"""The route that extends a study."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.bodies import SpecBody
from service.documented import LOCATION, STUDY_BODY, problems
from service.extensions import extend
from service.parameters import IdempotencyKey
from service.resources import ExtendedStudy, extended_study
from service.routes import answer
from service.security import LedgerOf, SettingsOf, Submitter
from workers.ledger.inputs import Idempotency

router = APIRouter(prefix="/v1", tags=["studies"])


@router.post(
    "/studies/{study_id:id}:extend",
    operation_id="extend_study",
    status_code=202,
    response_model=ExtendedStudy,
    responses={202: {"headers": {"Location": LOCATION}}, **problems(400, 401, 403, 404, 409, 422, 429)},
    openapi_extra=STUDY_BODY,
)
def extend_study(
    request: Request,
    study_id: str,
    caller: Submitter,
    key: IdempotencyKey,
    ledger: LedgerOf,
    settings: SettingsOf,
    body: SpecBody,
) -> Response:
    """Add the trials of a wider spec that the study lacks; the body is the whole of it.

    Repeating adds nothing; with the same Idempotency-Key it is also answered alike.
    """
    idempotency = None if key is None else Idempotency(key, body.sha256("extend", study_id))
    with request.app.state.in_flight.claimed(caller.owner, key):
        found = extend(ledger, settings, caller, study_id, lambda: body.document(settings.limits), idempotency)
    said = {"Location": f"/v1/studies/{found.row.id}"} | ({"Idempotency-Replayed": "true"} if found.is_replayed else {})
    return answer(extended_study(found.row, found.round, found.num_new), 202, said)

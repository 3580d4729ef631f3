"""The routes of trials: a study's, page by page; one by its id."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from schemas.trials import Outcome, TrialState
from service import studies
from service.documented import NEXT_LINK, problems
from service.parameters import ONCE, PageQuery, Text
from service.resources import TrialPage, TrialResource, page_of, trial_resource
from service.routes import answer, next_link
from service.security import LedgerOf, Reader

router = APIRouter(prefix="/v1", tags=["trials"])


class TrialsQuery(PageQuery):
    """Which trials of the study, and how many at a time. Names are those of the study."""

    state: Annotated[TrialState | None, Field(description="Only trials in this state.")] = None
    outcome: Annotated[Outcome | None, Field(description="Only trials that came to this.")] = None
    workload: Annotated[Text | None, Field(description="Only those of the workload of this name.")] = None
    optimizer: Annotated[Text | None, Field(description="Only those of the optimizer of this name.")] = None
    schedule: Annotated[Text | None, Field(description="Only those of the schedule of this name.")] = None


@router.get(
    "/studies/{study_id:id}/trials",
    operation_id="list_trials",
    dependencies=[ONCE],
    response_model=TrialPage,
    responses={200: {"headers": {"Link": NEXT_LINK}}, **problems(400, 401, 403, 404, 422)},
)
def list_trials(
    request: Request, study_id: str, caller: Reader, ledger: LedgerOf, query: Annotated[TrialsQuery, Query()]
) -> Response:
    """The newest attempt at each trial of a study, in the order of the study."""
    wanted = query.model_dump(exclude={"limit", "cursor"})
    rows, following = studies.list_trials(ledger, caller, study_id, wanted, query.limit, query.cursor)
    return answer(page_of(map(trial_resource, rows), following), headers=next_link(request, following))


@router.get(
    "/trials/{trial_id:id}",
    operation_id="get_trial",
    response_model=TrialResource,
    responses=problems(401, 403, 404),
)
def get_trial(trial_id: str, caller: Reader, ledger: LedgerOf) -> Response:
    """A trial, as the newest study that holds it has it."""
    return answer(trial_resource(studies.visible_trial(ledger, caller, trial_id)))

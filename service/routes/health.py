"""The routes for operators: is the process alive, can it work, what does it count."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.security import HTTPAuthorizationCredentials
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from service.codes import Code
from service.documented import problems
from service.errors import RETRY_UNAVAILABLE_S, ApiProblem
from service.resources import Health
from service.routes import answer
from service.security import LedgerOf, SettingsOf, bearer, principal_of, refuse_without

router = APIRouter(tags=["operation"])


@router.get("/healthz", operation_id="healthz", response_model=Health, responses=problems())
async def healthz() -> Response:
    """The process answers. Nothing else is asked: a database that is away is no reason to restart this."""
    return answer(Health(status="ok"))


@router.get("/readyz", operation_id="readyz", response_model=Health, responses=problems())
def readyz(ledger: LedgerOf) -> Response:
    """The ledger can be reached and has the schema that this program knows."""
    if not ledger.schema_is_current():
        said = {"Retry-After": str(RETRY_UNAVAILABLE_S)}
        raise ApiProblem(Code.NOT_READY, "the ledger has another schema than this program: migrate it", headers=said)
    return answer(Health(status="ready"))


async def _scraper(
    request: Request,
    settings: SettingsOf,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> None:
    if not settings.public_metrics:
        refuse_without("read", await principal_of(request, credentials))


@router.get(
    "/metrics",
    operation_id="metrics",
    dependencies=[Depends(_scraper)],
    response_class=PlainTextResponse,
    responses={200: {"description": "Prometheus text format."}, **problems(401, 403)},
)
def metrics(request: Request) -> Any:
    """Requests, latencies, studies by state, queue, listeners. Needs a key with scope read, unless settings say not."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)

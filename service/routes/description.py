"""The route of the API's own description."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.documented import problems
from service.routes import answer
from service.security import Reader

router = APIRouter(prefix="/v1", tags=["catalog"])


@router.get("/openapi.json", operation_id="get_openapi", response_model=dict, responses=problems(401, 403))
def get_openapi(request: Request, caller: Reader) -> Response:
    """This API as an OpenAPI 3.1 document, to generate a client from."""
    return answer(request.app.openapi())

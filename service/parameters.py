"""The parameters that several routes take: pages, names, the Idempotency-Key; each of them once."""

from collections import Counter
from typing import Annotated, Any

from fastapi import Depends, Header
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from schemas.errors import Problem
from service.codes import Code
from service.errors import ApiProblem
from service.idempotency import DESCRIPTION, idempotency_key
from service.security import Principal, principal_of

MAX_NAMED, MAX_CHARACTERS = 10, 100

Limit = Annotated[int, Field(ge=1, le=1_000, description="How many items one page has at most.")]
Cursor = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class PageQuery(BaseModel):
    """Which page of a list, and how long it is."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = 50
    cursor: Annotated[Cursor | None, Field(description="`next` of the page before; the first page where left out.")] = (
        None
    )


async def _once(request: Request, caller: Annotated[Principal, Depends(principal_of)]) -> None:
    """Refuse a parameter that is there twice: of two limits, which was meant?

    Raises:
        ApiProblem: 422.
    """
    counted = Counter(name for name, _ in request.query_params.multi_items())
    twice = [Problem(name[:MAX_CHARACTERS], f"{count} values", "one") for name, count in counted.items() if count > 1]
    if twice:
        raise ApiProblem(Code.INVALID_PARAMETER, "; ".join(map(str, twice[:MAX_NAMED])), twice[:MAX_NAMED])


ONCE: Any = Depends(_once)
"""A dependency of every route that takes parameters in its query."""


async def _key(
    request: Request, header: Annotated[str | None, Header(alias="Idempotency-Key", description=DESCRIPTION)] = None
) -> str | None:
    return idempotency_key(request.headers.getlist("idempotency-key"))


IdempotencyKey = Annotated[str | None, Depends(_key)]
"""The key of a request that may come twice."""

"""Who is asking: the key of a request, what it may do, and which studies it may see."""

import hashlib
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from schemas.errors import PlaceError
from service.codes import Code
from service.errors import ApiProblem
from service.settings import Settings
from workers.ledger.ledger import Ledger

Scope = Literal["read", "submit", "admin"]

REALM = 'Bearer realm="warmup-bench"'
MAX_CACHED_KEYS = 10_000
_KEY = re.compile(r"[\x21-\x7e]{8,200}")

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="A key made by `warmup-bench keys create`, with the scopes read, submit or admin.",
)


@dataclass(frozen=True, slots=True)
class Principal:
    """The key that a request came with."""

    key_id: str
    owner: str
    scopes: frozenset[str]

    @property
    def sees_all(self) -> bool:
        """Whether studies of other owners are there for it."""
        return "admin" in self.scopes

    @property
    def visible_owner(self) -> str | None:
        """The owner whose studies it sees; None: everybody's."""
        return None if self.sees_all else self.owner

    def may(self, scope: Scope) -> bool:
        """`admin` includes the other two; `submit` and `read` do not include each other."""
        return scope in self.scopes or self.sees_all

    def may_see(self, owner: str) -> bool:
        """Whether that owner's studies are there for it."""
        return self.sees_all or owner == self.owner


class KeyCache:
    """Looks keys up, each at most once in `seconds`, so that a revocation acts within that time."""

    def __init__(self, ledger: Ledger, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger, self._seconds, self._clock = ledger, seconds, clock
        self._known: dict[bytes, tuple[float, Principal]] = {}

    async def principal(self, secret: str) -> Principal | None:
        """Whose key this is; None for an unknown or a revoked one (which is looked up each time)."""
        if not _KEY.fullmatch(secret):
            return None
        digest = hashlib.sha256(secret.encode()).digest()  # not the secret: memory is read by debuggers
        until, principal = self._known.get(digest, (0.0, None))
        asked_at = self._clock()
        if principal is not None and asked_at < until:
            return principal
        self._known.pop(digest, None)
        row = await run_in_threadpool(self._ledger.key_by_secret, secret)
        if row is None:
            return None
        principal = Principal(row.id, row.owner, frozenset(row.scopes))
        if len(self._known) >= MAX_CACHED_KEYS:
            self._known.clear()
        self._known[digest] = (asked_at + self._seconds, principal)
        return principal


async def principal_of(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Principal:
    """Whose key a request came with.

    Raises:
        ApiProblem: 401, without a key or with an unknown one.
    """
    if credentials is None:
        raise ApiProblem(Code.KEY_MISSING, "send `Authorization: Bearer KEY`", headers={"WWW-Authenticate": REALM})
    keys: KeyCache = request.app.state.keys
    principal = await keys.principal(credentials.credentials)
    if principal is None:
        said = {"WWW-Authenticate": f'{REALM}, error="invalid_token"'}
        raise ApiProblem(Code.KEY_UNKNOWN, "this key is not known here, or was revoked", headers=said)
    request.state.principal = principal
    return principal


async def key_watch(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> "KeyWatch":
    """For an answer that lasts: see KeyWatch."""
    return KeyWatch(request.app.state.keys, credentials.credentials if credentials is not None else "")


@dataclass(frozen=True)
class KeyWatch:
    """Asks again, as often as it is called, whether the key of a request is still one."""

    keys: KeyCache
    secret: str = field(repr=False)

    async def __call__(self) -> bool:
        """False once it is revoked. While the ledger is away nobody can tell, and nobody has news of it either."""
        with suppress(PlaceError):
            return await self.keys.principal(self.secret) is not None
        return True


def refuse_without(scope: Scope, principal: Principal) -> None:
    """Raise a 403 where the key lacks the scope."""
    if not principal.may(scope):
        said = {"WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="{scope}"'}
        has = ", ".join(sorted(principal.scopes)) or "none"
        raise ApiProblem(Code.SCOPE_MISSING, f"got scopes {has}, allowed {scope} or admin", headers=said)


def require(scope: Scope) -> Any:
    """The dependency of a route on a key with this scope; it gives the Principal, and answers 401 or 403 without."""

    async def check(principal: Annotated[Principal, Depends(principal_of)]) -> Principal:
        refuse_without(scope, principal)
        return principal

    return Depends(check)


# `async`, though they wait for nothing: a plain function would be given a thread each.
async def _ledger(request: Request) -> Any:
    return request.app.state.ledger


async def _settings(request: Request) -> Any:
    return request.app.state.settings


Reader = Annotated[Principal, require("read")]
"""A parameter of a route that reads."""
Submitter = Annotated[Principal, require("submit")]
"""A parameter of a route that submits, extends or cancels."""
LedgerOf = Annotated[Ledger, Depends(_ledger)]
SettingsOf = Annotated[Settings, Depends(_settings)]

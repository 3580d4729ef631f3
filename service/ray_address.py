"""Where the Jobs API of a Ray cluster is, and with which token it is asked: from a flag and Ray's own variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from schemas.errors import Problem, SpecError
from schemas.problems import show

ADDRESS = "WARMUP_BENCH_RAY_ADDRESS"
MODE, TOKEN, TOKEN_FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
FLAG = "--ray-address"
_ALLOWED = "http://HOST:8265 or https://HOST, the address of a Ray head's dashboard, without user or path"
_LONGEST_TOKEN = 4096


@dataclass(frozen=True)
class RayAddress:
    """A cluster's Jobs API. Its token is not kept here: a file may be replaced while the service runs."""

    url: str
    token_file: Path | None = None
    token_value: str | None = None

    @property
    def has_token(self) -> bool:
        """Whether a token is sent."""
        return self.token_file is not None or bool(self.token_value)

    def headers(self) -> dict[str, str]:
        """What authenticates a request; empty where the cluster asks for nothing.

        Raises:
            OSError, ValueError: the token's file cannot be read, or holds no token.
        """
        token = self.token_value
        if self.token_file is not None:
            token = _token(self.token_file.read_bytes()[: _LONGEST_TOKEN + 1])
        return {"Authorization": f"Bearer {token}"} if token else {}


def read_ray_address(flag: str | None, environment: Mapping[str, str] = os.environ) -> RayAddress | None:
    """The cluster that the flag or WARMUP_BENCH_RAY_ADDRESS names; None where neither does.

    A token is sent where RAY_AUTH_MODE is `token`, and then there must be one: in RAY_AUTH_TOKEN_PATH's file, or in
    RAY_AUTH_TOKEN. Nothing is taken from a user's home.

    Raises:
        SpecError: an address that is none, a token that cannot be had, or one that would not be sent.
    """
    text = flag if flag is not None else environment.get(ADDRESS) or None
    if text is None:
        return None
    problems = [] if _is_address(text) else [Problem(f"{FLAG} ({ADDRESS})", show(_without_user(text)), _ALLOWED)]
    mode, value, file = (environment.get(name, "") for name in (MODE, TOKEN, TOKEN_FILE))
    problems += _auth_problems(mode, value, file)
    if problems:
        raise SpecError(problems)
    is_on = mode.lower() == "token"
    return RayAddress(
        text.rstrip("/"), Path(file) if is_on and file else None, value.strip() if is_on and not file else None
    )


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    has_place = parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
    is_bare = "@" not in parts.netloc and parts.path in ("", "/") and not parts.query and not parts.fragment
    return has_place and is_bare and text.isprintable() and " " not in text


def _without_user(text: str) -> str:
    before, at, after = text.rpartition("@")
    return f"{before.partition('://')[0]}://...@{after}" if at else text


def _auth_problems(mode: str, value: str, file: str) -> list[Problem]:
    if mode.lower() not in ("", "token", "disabled"):
        return [Problem(MODE, show(mode), "token or disabled, as on the cluster")]
    if mode.lower() != "token":
        name = TOKEN_FILE if file else TOKEN
        unsent = f"nothing while {MODE} is not `token`: set {MODE}=token here and on the cluster, or unset it"
        return [Problem(name, "a token", unsent)] if (file or value) and not mode else []
    if file and value:
        return [Problem(TOKEN, "a token", f"nothing beside {TOKEN_FILE}: one of the two")]
    if not file and not value.strip():
        allowed = f"{TOKEN_FILE}=FILE beside {MODE}=token: the file that the cluster's nodes have"
        return [Problem(TOKEN_FILE, "nothing", allowed)]
    try:
        _token(Path(file).read_bytes()[: _LONGEST_TOKEN + 1] if file else value.encode())
    except (OSError, ValueError) as error:
        got = f"{show(file)} ({getattr(error, 'strerror', None) or error})" if file else f"a token ({error})"
        return [Problem(TOKEN_FILE if file else TOKEN, got, "a file that holds the token of the cluster, one line")]
    return []


def _token(content: bytes) -> str:
    """The token in a file's bytes. Raises ValueError, which never holds any of it."""
    try:
        token = content.decode("ascii").strip()
    except UnicodeDecodeError:
        raise ValueError("bytes that no token has") from None
    if not token:
        raise ValueError("an empty file")
    if len(token) > _LONGEST_TOKEN or not token.isprintable() or " " in token:
        raise ValueError("more than one word")
    return token

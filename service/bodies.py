"""The study that a request brings: JSON or YAML by its Content-Type, read as the files of the command line are."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import ClientDisconnect, Request

from schemas.errors import Problem, SpecError
from schemas.limits import Limits
from service.codes import Code
from service.errors import ApiProblem
from service.spec_files import parse_document, plain_document

JSON_TYPES = ("application/json",)
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")
_UTF8 = ("utf-8", "utf8", "us-ascii", "")
STUDY_TURNS, YAML_TURNS = 2, 1
"""Studies that are read, expanded and planned at the same time in one process: of those in JSON, of those in YAML."""


class StudyTurns:
    """Who may read, expand and plan a study now. YAML takes its reader longer, so JSON does not wait for it."""

    def __init__(self) -> None:
        self._json, self._yaml = asyncio.Semaphore(STUDY_TURNS), asyncio.Semaphore(YAML_TURNS)

    def of(self, *, is_yaml: bool) -> asyncio.Semaphore:
        """What to hold meanwhile."""
        return self._yaml if is_yaml else self._json


@dataclass(frozen=True)
class Body:
    """The bytes of a request, and whether they are YAML."""

    data: bytes
    is_yaml: bool

    def sha256(self, *more: object) -> str:
        """What tells this request from another one: its bytes, their type, and `more`."""
        return sha256(repr((self.is_yaml, *more)).encode() + self.data).hexdigest()

    def document(self, limits: Limits) -> Any:
        """The document in it.

        Raises:
            SpecError: it is none.
        """
        return parse_document(self.data, limits) if self.is_yaml else parse_json(self.data, limits)


async def _body(request: Request) -> AsyncIterator[Body]:
    is_yaml = _is_yaml(request.headers.get("content-type", ""))
    try:
        data = await request.body()
    except ClientDisconnect:
        raise ApiProblem(Code.BAD_REQUEST, "the body was cut short") from None
    # Those that wait have no thread meanwhile: a few large studies leave every other route its threads.
    turns: StudyTurns = request.app.state.study_turns
    async with turns.of(is_yaml=is_yaml):
        yield Body(data, is_yaml)


SpecBody = Annotated[Body, Depends(_body, scope="function")]
"""A parameter of a route that takes a study; the route has its turn with it."""


def _is_yaml(content_type: str) -> bool:
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charset = next((part.partition("=")[2].strip('"') for part in parameters if part.startswith("charset=")), "")
    if kind in (*JSON_TYPES, *YAML_TYPES) and charset in _UTF8:
        return kind in YAML_TYPES
    allowed = ", ".join((*JSON_TYPES, *YAML_TYPES))
    raise ApiProblem(
        Code.MEDIA_TYPE_UNSUPPORTED,
        f"Content-Type: got {content_type[:100]!r}, allowed {allowed}, in UTF-8",
        headers={"Accept": allowed},
    )


def parse_json(data: bytes, limits: Limits) -> Any:
    """The document of a JSON text: what YAML 1.2 would make of it, but much faster.

    Raises:
        SpecError: no JSON, duplicate keys, too large or too deep, a number that JSON does not have.
    """
    if len(data) > limits.spec_bytes:
        raise SpecError([Problem("spec_bytes", str(len(data)), f"at most {limits.spec_bytes}")])
    try:
        document = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise SpecError([Problem(where, error.msg[:1].lower() + error.msg[1:], "one JSON document")]) from error
    except UnicodeDecodeError as error:
        raise SpecError([Problem("file", f"bytes that are no UTF-8 at offset {error.start}", "UTF-8 text")]) from error
    except RecursionError as error:
        raise SpecError([Problem("file", "a document nested too deeply", "a few levels")]) from error
    except _NotStrict as error:
        raise SpecError([Problem("file", str(error)[:100], "one JSON document")]) from error
    except ValueError as error:  # the one thing that is left, which Python says in words for programmers
        got = f"an integer of more than {sys.get_int_max_str_digits():,} digits"
        raise SpecError([Problem("file", got, "numbers that a 64-bit float holds")]) from error
    return plain_document(document)


class _NotStrict(ValueError):
    """JSON that is not strict."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _NotStrict(f"duplicate key {ascii(key)[:60]}")
        found[key] = value
    return found


def _no_constant(name: str) -> Any:
    raise _NotStrict(f"{name}, which is no number of JSON")

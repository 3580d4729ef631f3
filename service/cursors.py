"""Cursors of lists as callers see them: opaque, of one list only, and refused where no page gave them."""

import base64
import binascii

from schemas.problems import show
from service.codes import Code
from service.errors import ApiProblem

MAX_CHARACTERS = 200


def seal(kind: str, inner: str) -> str:
    """The cursor that a page of that kind of list hands out."""
    return base64.urlsafe_b64encode(f"{kind}:{inner}".encode()).decode().rstrip("=")


def unseal(kind: str, cursor: str) -> str:
    """What `seal` was given.

    Raises:
        ApiProblem: 400, a cursor that no list of that kind gave.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise bad_cursor(cursor) from None
    found, _, inner = text.partition(":")
    if found != kind or not inner or len(cursor) > MAX_CHARACTERS or seal(kind, inner) != cursor:
        raise bad_cursor(cursor)
    return inner


def bad_cursor(cursor: str) -> ApiProblem:
    """A cursor that no page gave."""
    return ApiProblem(Code.BAD_CURSOR, f"cursor: got {show(cursor)}, allowed what `next` of an earlier page said")

"""What a request's Idempotency-Key says, and which keys are being answered at the moment."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.problems import show
from service.codes import Code
from service.errors import ApiProblem

MAX_CHARACTERS = 255
RETRY_S = 1
DESCRIPTION = (
    f'1 to {MAX_CHARACTERS} characters of ASCII: a structured string as in "8e03978e-40d5" (RFC 9651), or the same'
    " without quotes where it has no space. Makes the request safe to repeat: the same key and body are answered alike."
)
ALLOWED = f"1 to {MAX_CHARACTERS} visible ASCII characters, plain or as a quoted string, once"
# With quotes it is a structured field (RFC 9651, 3.3.3); without, what curl and people write.
_QUOTED = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_PLAIN = re.compile(r"[\x21\x23-\x7e][\x21-\x7e]*")
_ESCAPED = re.compile(r"\\(.)")


def idempotency_key(headers: list[str]) -> str | None:
    """The key of a request, of all its Idempotency-Key headers: quoted or not, the same key.

    Raises:
        ApiProblem: 400, several, or malformed.
    """
    if not headers:
        return None
    if len(headers) > 1:
        raise _malformed(f"{len(headers)} headers")
    text = headers[0]
    quoted = _QUOTED.fullmatch(text)
    key = _ESCAPED.sub(r"\1", quoted[1]) if quoted else text
    if not (1 <= len(key) <= MAX_CHARACTERS and (quoted or _PLAIN.fullmatch(text))):
        raise _malformed(show(text))
    return key


def _malformed(got: str) -> ApiProblem:
    return ApiProblem(Code.IDEMPOTENCY_KEY_MALFORMED, f"Idempotency-Key: got {got}, allowed {ALLOWED}")


class InFlight:
    """The keys of this process whose first request is not answered yet: a second one is told so at once.

    Another process' are not in it: there the ledger makes the second request wait, and answers it as the first.
    """

    def __init__(self) -> None:
        self._keys: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    @contextmanager
    def claimed(self, owner: str, key: str | None) -> Iterator[None]:
        """Hold the key for a request.

        Raises:
            ApiProblem: 409, another request holds it.
        """
        if key is None:
            yield
            return
        with self._lock:
            if (owner, key) in self._keys:
                said = {"Retry-After": str(RETRY_S)}
                raise ApiProblem(
                    Code.IDEMPOTENCY_KEY_IN_FLIGHT, "send the same request again in a second", headers=said
                )
            self._keys.add((owner, key))
        try:
            yield
        finally:
            with self._lock:
                self._keys.discard((owner, key))

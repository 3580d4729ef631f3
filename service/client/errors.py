"""What can go wrong between a client and its server, one tree.

ClientError
├── ServerUnreachable    no whole answer came: refused, unknown name, TLS, time, a connection that was cut
│   └── SubmitUnanswered
├── StrangeAnswer        an answer that is none of warmup-bench's: a proxy's page, half a JSON, another version's
├── ApiError             the server's own answer: a status, a stable code, fields, a request id
└── WaitTimeout          a study was not final in the time given
"""

from dataclasses import dataclass

from schemas.errors import Problem, WarmupBenchError

PROXIES_STATUS = (502, 503, 504)


class ClientError(WarmupBenchError):
    """The root of what a client raises."""

    code = "client_error"


class ServerUnreachable(ClientError):
    """No whole answer came.

    Attributes:
        may_have_acted: whether the request may have reached the server all the same.
        is_transient: whether asking again may help.
    """

    code = "server_unreachable"

    def __init__(self, message: str, *, may_have_acted: bool, is_transient: bool = True) -> None:
        self.may_have_acted = may_have_acted
        self.is_transient = is_transient
        super().__init__(message)


class SubmitUnanswered(ServerUnreachable):
    """No answer to a submission came, in all the time: the study may have been accepted."""

    def __init__(self, error: ServerUnreachable, idempotency_key: str) -> None:
        self.idempotency_key = idempotency_key
        super().__init__(
            f"{error}. The study may have been accepted; submitting the same document with --idempotency-key"
            f" {idempotency_key} again makes no second one",
            may_have_acted=True,
        )


class StrangeAnswer(ClientError):
    """An answer that cannot be warmup-bench's, or is not whole."""

    code = "strange_answer"


class WaitTimeout(ClientError):
    """The study was not final in the time given; it goes on."""

    code = "wait_timeout"


@dataclass(frozen=True)
class Refusal:
    """The members of an RFC 9457 problem."""

    status: int
    code: str
    title: str = ""
    detail: str = ""
    errors: tuple[Problem, ...] = ()
    request_id: str | None = None
    retry_after_s: float | None = None


class ApiError(ClientError):
    """The server's own refusal, or its failure. `code` is the problem's stable code."""

    code = "api_error"

    def __init__(self, refusal: Refusal, server: str) -> None:
        self.refusal = refusal
        self.server = server
        self.code = refusal.code  # type: ignore[misc]  # each problem brings its own
        super().__init__(self._said())

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.refusal.status

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The refused fields; empty where the answer named none."""
        return self.refusal.errors

    @property
    def request_id(self) -> str | None:
        """What the server's log calls the request."""
        return self.refusal.request_id

    @property
    def retry_after_s(self) -> float | None:
        """Seconds to wait before asking again, where the server said so."""
        return self.refusal.retry_after_s

    @property
    def is_transient(self) -> bool:
        """Whether asking again may help: the server is not up at the moment, or says when to come again."""
        return self.status in PROXIES_STATUS or (self.status in (409, 429) and self.retry_after_s is not None)

    def _said(self) -> str:
        what = self.refusal.detail or self.refusal.title or f"HTTP status {self.status}"
        request = f"; request {printable(self.request_id)}" if self.request_id else ""
        fields = "".join(f"\n{problem}" for problem in self.errors)
        return f"{self.server}: {printable(what)} ({self.status} {printable(self.refusal.code)}{request}){fields}"


def printable(text: str, at_most: int = 500) -> str:
    """Another program's text on one line: it must not steer the terminal that it is printed on."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= at_most else line[: at_most - 3] + "..."

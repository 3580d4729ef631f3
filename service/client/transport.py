"""One request: sent, tried again where that is safe, its answer checked to be warmup-bench's."""

import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import httpx
import stamina

from service.client.errors import ApiError, ServerUnreachable, StrangeAnswer, printable
from service.client.problems import refusal_of
from service.config import is_loopback

CONNECT_S = 10.0
RETRY_FIRST_S, RETRY_MOST_S, RETRY_JITTER_S = 0.1, 5.0, 0.2
JSON, YAML, HTML, TEXT = "application/json", "application/yaml", "text/html", "text/plain"
PARQUET, EVENT_STREAM = "application/vnd.apache.parquet", "text/event-stream"


class Transport:
    """A connection pool to one server; may be shared by threads.

    Args:
        timeout_s: how long the server may be silent within one answer.
        retry_s: how long a request that may be repeated is repeated before its error is raised; 0: never.
    """

    def __init__(self, server: str, key: str | None, *, timeout_s: float, retry_s: float) -> None:
        self.server = server
        self._retry_s = retry_s
        # A proxy that the environment names cannot reach an address of this machine.
        self._http = httpx.Client(
            base_url=f"{server}/",
            headers={"User-Agent": "warmup-bench"} | ({"Authorization": f"Bearer {key}"} if key else {}),
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S)),
            trust_env=not is_loopback(server),
        )

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        accept: str = JSON,
        may_repeat: bool,
        params: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        retry_s: float | None = None,
    ) -> httpx.Response:
        """The answer, whole, with a status below 400 and of the type asked for (or 304, empty).

        Args:
            may_repeat: whether doing it twice is the same as doing it once.
            retry_s: how long a server that says when to come again is asked again, where that may take longer.

        Raises:
            ServerUnreachable, StrangeAnswer, ApiError.
        """
        request = self._http.build_request(
            method,
            path,
            params={name: value for name, value in (params or {}).items() if value is not None},
            content=content,
            headers={"Accept": accept, **(headers or {})},
        )
        for attempt in self._attempts(self._retry_s if may_repeat else 0.0, retry_s):
            with attempt:
                with self._explained():
                    response = self._http.send(request)
                return self._checked(response, accept)
        raise AssertionError("the last attempt raises")

    @contextmanager
    def stream(self, path: str, *, headers: Mapping[str, str], silence_s: float, retry_s: float) -> Iterator[Any]:
        """The pieces of a stream of events as bytes, once it has begun.

        Raises:
            ServerUnreachable: it did not begin within `retry_s`, or was cut, or silent for `silence_s`; StrangeAnswer,
                ApiError.
        """
        timeout = httpx.Timeout(silence_s, connect=CONNECT_S)
        request = self._http.build_request("GET", path, headers={"Accept": EVENT_STREAM, **headers}, timeout=timeout)
        response = self._begun(request, retry_s)
        try:
            with self._explained():
                yield response.iter_bytes() if response.status_code != httpx.codes.NO_CONTENT else iter(())
        finally:
            response.close()

    def _begun(self, request: httpx.Request, retry_s: float) -> httpx.Response:
        for attempt in self._attempts(retry_s):
            with attempt:
                with self._explained():
                    response = self._http.send(request, stream=True)
                    if response.status_code >= httpx.codes.BAD_REQUEST or response.is_redirect:
                        response.read()
                try:
                    return self._checked(response, EVENT_STREAM)
                except BaseException:
                    response.close()
                    raise
        raise AssertionError("the last attempt raises")

    def _attempts(self, retry_s: float, told_s: float | None = None) -> Any:
        begun = time.monotonic()

        def again(error: Exception) -> bool | float:
            gone_s = time.monotonic() - begun
            if isinstance(error, ApiError) and error.is_transient and error.retry_after_s is not None:
                fits = gone_s + error.retry_after_s <= (retry_s if told_s is None else told_s)
                return error.retry_after_s if fits else False
            return gone_s < retry_s and isinstance(error, ApiError | ServerUnreachable) and error.is_transient

        return stamina.retry_context(
            on=again,
            attempts=None,
            timeout=None,  # `again` minds the time
            wait_initial=RETRY_FIRST_S,
            wait_max=RETRY_MOST_S,
            wait_jitter=RETRY_JITTER_S,
        )

    def _checked(self, response: httpx.Response, accept: str) -> httpx.Response:
        if response.status_code >= httpx.codes.BAD_REQUEST:
            raise ApiError(refusal_of(response), self.server)
        if response.status_code in (httpx.codes.NOT_MODIFIED, httpx.codes.NO_CONTENT):
            return response
        if response.is_redirect:
            to = printable(response.headers.get("Location", "nowhere"))
            raise StrangeAnswer(f"{self.server} sends on to {to}; if that is warmup-bench, name it (--server)")
        got = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if got != accept:
            raise StrangeAnswer(
                f"{self.server} answers {printable(got) or 'without a type'} where {accept} was asked for; a proxy, or"
                " another program, answers there: check the address (--server, WARMUP_BENCH_SERVER)"
            )
        return response

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            self._unreachable(error)

    def _unreachable(self, error: httpx.HTTPError) -> NoReturn:
        reason = printable(str(error)) or type(error).__name__
        if isinstance(error, httpx.DecodingError):
            raise StrangeAnswer(f"{self.server}: an answer that cannot be decoded ({reason})") from error
        tls = _tls_error(error)
        if tls is not None:
            raise ServerUnreachable(_tls_said(self.server, tls), may_have_acted=False, is_transient=False) from error
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
            reason = reason.partition("] ")[2] or reason
            raise ServerUnreachable(
                f"{self.server} cannot be reached ({reason}); start one there (warmup-bench serve), or name another"
                " (--server, WARMUP_BENCH_SERVER)",
                may_have_acted=False,
            ) from error
        if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
            raise ServerUnreachable(f"{self.server}: {reason}", may_have_acted=False, is_transient=False) from error
        said = "was silent too long" if isinstance(error, httpx.TimeoutException) else f"cut the connection ({reason})"
        raise ServerUnreachable(f"{self.server} {said}; try again", may_have_acted=True) from error


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error


def _tls_said(server: str, error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{server}: its certificate is not trusted ({printable(error.verify_message)}); check the address, or set"
            " SSL_CERT_FILE to the authority's certificate"
        )
    reason = printable(error.reason or str(error)).replace("_", " ").lower()
    return f"{server}: no TLS connection ({reason}); check the address: does the server speak http?"

"""One server over HTTP, each of whose answers is whole within seconds and of a bounded size, or is none."""

import ssl
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import closing
from typing import Any

import httpx

TIMEOUT = httpx.Timeout(5.0, connect=2.0)
"""Of each piece of an answer. A server that lives answers within milliseconds."""
LONGEST_S = 10.0
"""Of one answer, however it drips."""
LONGEST_ANSWER = 4_000_000
"""Bytes. What is asked for is a fraction of it."""


class BoundedHttp:
    """A client of one server. Used by one thread."""

    def __init__(self, url: str, transport: httpx.BaseTransport | None = None) -> None:
        self._url, self._transport = url, transport
        self._client = self._new_client()

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def ask(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> httpx.Response:
        """The whole answer, with whatever status. httpx bounds each piece of it, and headers may come in as many as
        somebody likes: so it is had beside, and given up with its connection.

        Raises:
            httpx.HTTPError: there is none. TimeoutError: it does not end. ValueError: the headers cannot be sent.
        """
        request = self._client.build_request(method, path, json=body, headers=dict(headers))
        answer: Future[httpx.Response] = Future()

        def have(client: httpx.Client) -> None:
            try:
                answer.set_result(_whole(client, request))
            except BaseException as error:
                answer.set_exception(error)

        threading.Thread(target=have, args=(self._client,), name="an answer", daemon=True).start()
        try:
            return answer.result(LONGEST_S)
        except TimeoutError:
            given_up, self._client = self._client, self._new_client()
            given_up.close()
            raise

    def _new_client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self._url,
            timeout=TIMEOUT,
            transport=self._transport,
            follow_redirects=False,
            # No proxy of the environment's: the server is near. Whom to trust is the system's to say, or what
            # SSL_CERT_FILE names, where an authority of one's own has signed.
            trust_env=False,
            verify=ssl.create_default_context(),
        )


def _whole(client: httpx.Client, request: httpx.Request) -> httpx.Response:
    with closing(client.send(request, stream=True)) as answer:
        content = bytearray()
        for piece in answer.iter_bytes():
            content += piece
            if len(content) > LONGEST_ANSWER:
                raise TimeoutError
    # The content is decoded by now.
    kept = {"Content-Type": answer.headers.get("Content-Type", "text/plain")}
    return httpx.Response(answer.status_code, headers=kept, content=bytes(content))

"""How requests are answered that are no HTTP: as every other refusal, in place of uvicorn's own words."""

import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from service.codes import Code
from service.errors import ApiProblem, problem_response
from service.middleware import SAFE_HEADERS

if TYPE_CHECKING:
    Protocol = Any
else:
    Protocol = AutoHTTPProtocol


class ProblemProtocol(Protocol):
    """uvicorn's protocol; of a request that it cannot read, there is no application to answer it."""

    transport: Any
    cycle: Any

    def send_400_response(self, msg: str) -> None:
        """A whole answer, after which the connection is closed: where the next request begins, nobody knows."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()  # half of another answer is sent: nothing may stand behind it
            return
        request_id = uuid.uuid4().hex
        problem = ApiProblem(Code.BAD_REQUEST, "no HTTP/1.1 request: its first line or a header is malformed")
        response = problem_response({"state": {"request_id": request_id}}, problem)
        headers = {**response.headers, **SAFE_HEADERS, "X-Request-ID": request_id, "Connection": "close"}
        status = HTTPStatus.BAD_REQUEST
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        self.transport.write("\r\n".join((*lines, "", "")).encode("latin-1") + bytes(response.body))
        self.transport.close()

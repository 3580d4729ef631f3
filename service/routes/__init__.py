"""What routes share: how ids stand in paths, how an answer is written, where the next page is."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from service.strict_json import to_json


class _Id(Convertor[str]):
    """One path segment without a colon: what follows a colon is what is to be done, as in `ID:cancel`."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        """From the path."""
        return value

    def to_string(self, value: str) -> str:
        """Into a path."""
        return value


register_url_convertor("id", _Id())


def answer(resource: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A resource as JSON. It was checked when it was made, so FastAPI is not asked to do so again."""
    return Response(to_json(resource), status, dict(headers or {}), "application/json")


def next_link(request: Request, cursor: str | None) -> dict[str, str]:
    """The Link header to the page at `cursor`, with the same filters; nothing after the last page."""
    if cursor is None:
        return {}
    asked = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return {"Link": f'<{request.url.path}?{urlencode([*asked, ("cursor", cursor)])}>; rel="next"'}

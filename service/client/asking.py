"""Answers as resources: one, a page of many, or all pages one after the other."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from service.client.errors import StrangeAnswer, printable
from service.client.models import Page
from service.client.transport import Transport

Resource = TypeVar("Resource", bound=BaseModel)


class Asking:
    """Asks one server, and reads what it answers."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def send(self, method: str, path: str, *, may_repeat: bool = True, **how: Any) -> httpx.Response:
        """The answer to a request below /v1. See Transport.send."""
        return self.transport.send(method, f"v1/{path}", may_repeat=may_repeat, **how)

    def get(self, path: str, kind: type[Resource]) -> Resource:
        """The resource at a path."""
        return self.read(self.send("GET", path), kind)

    def read(self, response: httpx.Response, kind: type[Resource]) -> Resource:
        """The resource in an answer.

        Raises:
            StrangeAnswer: something else is in it.
        """
        return self._valid(self.object(response), kind)

    def object(self, response: httpx.Response) -> dict[str, Any]:
        """The JSON object in an answer.

        Raises:
            StrangeAnswer: something else is in it.
        """
        try:
            document = response.json()
        except ValueError as error:
            raise StrangeAnswer(f"{self.transport.server}: an answer that is no whole JSON; try again") from error
        if not isinstance(document, dict):
            raise StrangeAnswer(f"{self.transport.server}: a JSON answer that is no object; is it warmup-bench?")
        return document

    def page(self, path: str, kind: type[Resource], params: Mapping[str, Any]) -> tuple[list[Resource], str | None]:
        """The resources of one page, and the cursor of the next."""
        page = self.read(self.send("GET", path, params=params), Page)
        return [self._valid(item, kind) for item in page.items], page.next

    def pages(self, path: str, kind: type[Resource], params: Mapping[str, Any]) -> Iterator[Resource]:
        """The resources of all pages; the next page is asked for when it is reached."""
        cursor: str | None = None
        while True:
            items, cursor = self.page(path, kind, {**params, "cursor": cursor})
            yield from items
            if cursor is None:
                return

    def _valid(self, document: Any, kind: type[Resource]) -> Resource:
        try:
            return kind.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            where = printable(".".join(str(part) for part in first["loc"]), 100)
            raise StrangeAnswer(
                f"{self.transport.server}: an answer that is no {kind.__name__} ({where}: {first['msg']}); is it"
                " warmup-bench, of this version?"
            ) from error

"""What is settled of a request before a route is looked for: HEAD is a GET without the body, and `%2F` is no slash."""

from collections.abc import Callable, Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.codes import Code
from service.errors import ApiProblem, problem_response


class BeforeRouting:
    """ASGI middleware.

    Args:
        allowed_methods: scope -> the methods of every route at its path, HEAD among them where GET may be asked so.
    """

    def __init__(self, app: ASGIApp, allowed_methods: Callable[[Scope], Collection[str]]) -> None:
        self.app, self._allowed_methods = app, allowed_methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif b"%2f" in scope.get("raw_path", b"").partition(b"?")[0].lower():
            # The server has decoded it, and the path would name another resource than its sender meant.
            problem = ApiProblem(Code.ROUTE_NOT_FOUND, "path: got an encoded slash (%2F), which no id or name here has")
            await problem_response(scope, problem)(scope, receive, send)
        elif scope["method"] == "HEAD" and "HEAD" in self._allowed_methods(scope):
            await self._as_get(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _as_get(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def without_body(message: Message) -> None:
            scope["method"] = "HEAD"  # what the server, the log and the counters are to see
            await send(message | {"body": b""} if message["type"] == "http.response.body" else message)

        scope["method"] = "GET"
        try:
            await self.app(scope, receive, without_body)
        finally:
            scope["method"] = "HEAD"

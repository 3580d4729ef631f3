"""How the service's processes log: one JSON object a line, on stderr, with the request's or the study's id.

At a terminal: readable lines, and none for the requests, which would run over what the person there types.
"""

import logging
import sys
from typing import Any, TextIO

import structlog


def configure_logging(stream: TextIO | None = None, *, level: int = logging.INFO) -> None:
    """Set the process' logging up; called once by what starts it.

    Tracebacks are plain: those with local variables would print keys, and take minutes where a variable is large.
    """
    stream = stream or sys.stderr
    at_terminal: list[Any] = [_without_requests] if stream.isatty() else []
    structlog.configure(
        processors=[
            *at_terminal,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if at_terminal else structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    of_server = logging.getLogger("uvicorn.error")
    of_server.handlers, of_server.propagate, of_server.level = [_ToStructlog(logging.WARNING)], False, logging.WARNING


class _ToStructlog(logging.Handler):
    """What uvicorn says itself, in the same shape."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a line on."""
        structlog.get_logger("uvicorn").log(record.levelno, record.getMessage(), exc_info=record.exc_info)


def _without_requests(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
    if event.get("event") == "request":
        raise structlog.DropEvent
    return event

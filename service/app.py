"""The application: routes, middleware and what they share, made for one ledger. Imports neither torch nor ray."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import Scope

from service.before_routing import BeforeRouting
from service.bodies import StudyTurns
from service.errors import add_handlers
from service.idempotency import InFlight
from service.live import LiveEvents
from service.metrics import Metrics
from service.middleware import BodyLimit, RequestContext
from service.openapi import document
from service.record_pages import RecordPages
from service.reports import Reports
from service.routes import (
    catalog,
    description,
    events,
    extensions,
    health,
    logs,
    presets,
    records,
    report,
    studies,
    trials,
)
from service.security import KeyCache
from service.settings import Settings
from service.study_logs import StudyLogs
from workers.ledger.ledger import Ledger

ROUTERS = (
    studies.router,
    extensions.router,
    events.router,
    report.router,
    trials.router,
    records.router,
    logs.router,
    catalog.router,
    presets.router,
    description.router,
    health.router,
)

STREAM = "follow_study_events"


def create_app(settings: Settings, ledger: Ledger) -> FastAPI:
    """The service on an open ledger, which stays its caller's to close."""
    app = FastAPI(
        title="warmup-bench",
        lifespan=_lifespan,
        openapi_url=None,  # served below, to those who have a key
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.ledger = ledger
    app.state.keys = KeyCache(ledger, settings.key_cache_s)
    app.state.in_flight = InFlight()
    app.state.study_turns = StudyTurns()
    app.state.live = LiveEvents(ledger)
    app.state.metrics = Metrics(ledger, num_listeners=lambda: app.state.live.num_listeners)
    app.state.reports = Reports(settings.places, ledger.url)
    app.state.record_pages = RecordPages(ledger, settings.places.records)
    app.state.logs = StudyLogs(ledger, settings.places)
    for router in ROUTERS:
        app.include_router(router)
    add_handlers(app, allowed_methods)
    app.add_middleware(BeforeRouting, allowed_methods=allowed_methods)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(RequestContext, metrics=app.state.metrics)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app


def allowed_methods(scope: Scope) -> set[str]:
    """The methods of every route at the path of a request; HEAD wherever a GET has an end."""
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    here = [route for route in routes if route.path_regex.match(scope["path"])]
    methods = {method for route in here for method in route.methods or ()}
    has_head = "GET" in methods and all(route.operation_id != STREAM for route in here)
    return methods | {"HEAD"} if has_head else methods


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await app.state.live.close()
        await app.state.reports.close()

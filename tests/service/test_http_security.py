"""Who may do what: every route but health asks for a key, a revoked key stops in seconds, answers are private."""

import asyncio
import re

import pytest
from fastapi.routing import APIRoute

from service.app import ROUTERS
from service.security import KeyCache
from tests.service.serving import serving, study

PUBLIC = {"/healthz", "/readyz"}
ROUTES = sorted(
    (method, route.path_format)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in route.methods
)


def filled(path):
    return re.sub(r"\{(\w+)\}", lambda found: "quickstart" if found[1] == "name" else "0" * 16, path)


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route[1] not in PUBLIC])
def test_every_route_but_health_refuses_without_a_key(any_service, method, path):
    with any_service.anonymous() as caller:
        missing = caller.request(method, filled(path))
        unknown = caller.request(method, filled(path), headers={"Authorization": f"Bearer wb_{'x' * 43}"})
        basic = caller.request(method, filled(path), headers={"Authorization": "Basic eDp5"})
    assert [(one.status_code, one.json()["code"]) for one in (missing, unknown, basic)] == [
        (401, "key_missing"),
        (401, "key_unknown"),
        (401, "key_missing"),
    ]
    assert missing.headers["www-authenticate"] == 'Bearer realm="warmup-bench"'
    assert 'error="invalid_token"' in unknown.headers["www-authenticate"]


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route[1] not in PUBLIC])
def test_no_route_acts_without_its_scope(any_service, method, path):
    key = any_service.key("read" if method == "POST" else "submit")
    with any_service.client(key) as caller:
        response = caller.request(method, filled(path))
    assert (response.status_code, response.json()["code"]) == (403, "scope_missing")
    assert 'error="insufficient_scope"' in response.headers["www-authenticate"]


def test_health_needs_no_key(any_service):
    with any_service.anonymous() as caller:
        assert caller.get("/healthz").json() == {"status": "ok"}
        assert caller.get("/readyz").json() == {"status": "ready"}


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer a", "Bearer \xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9", "Bearer " + "x" * 5000]
)
def test_a_key_that_cannot_be_one_is_a_401(any_service, value):
    with any_service.anonymous() as caller:
        response = caller.get("/v1/studies", headers=[(b"Authorization", value.encode("latin-1"))])
    assert response.status_code == 401


def test_a_revoked_key_is_refused_once_the_cache_has_forgotten_it(open_ledger, places):
    with serving(open_ledger, places, key_cache_s=0) as service:
        row, secret = open_ledger.create_key("short", ["read"])
        with service.client(secret) as caller:
            assert caller.get("/v1/studies").status_code == 200
            open_ledger.revoke_key(row.id)
            assert caller.get("/v1/studies").json()["code"] == "key_unknown"


def test_a_key_is_looked_up_once_in_the_time_of_the_cache(open_ledger):
    class Counting:
        num_asked = 0

        def key_by_secret(self, secret):
            self.num_asked += 1
            return open_ledger.key_by_secret(secret)

    now, asked = [100.0], Counting()
    keys = KeyCache(asked, 3.0, clock=lambda: now[0])
    row, secret = open_ledger.create_key("cached", ["read"])

    async def scenario():
        assert (await keys.principal(secret)).key_id == row.id
        open_ledger.revoke_key(row.id)
        now[0] += 2.9
        assert await keys.principal(secret) is not None
        assert asked.num_asked == 1
        now[0] += 0.2
        assert await keys.principal(secret) is None
        assert asked.num_asked == 2

    asyncio.run(scenario())


def test_an_unknown_key_is_never_kept(open_ledger):
    keys = KeyCache(open_ledger, 3.0)

    async def scenario():
        assert await keys.principal("wb_" + "x" * 43) is None
        assert keys._known == {}

    asyncio.run(scenario())


def test_answers_are_private_and_run_nothing(any_service):
    with any_service.client() as caller:
        made = caller.post("/v1/studies", json=study())
        for response in (made, caller.get(made.headers["location"]), caller.get("/nowhere"), caller.get("/healthz")):
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["cache-control"] == "no-store"
            assert response.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_metrics_are_public_only_where_the_operator_says_so(open_ledger, places):
    with serving(open_ledger, places, public_metrics=True) as service, service.anonymous() as caller:
        assert caller.get("/metrics").status_code == 200

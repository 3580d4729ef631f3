"""A service to speak to: one of its own for a test, or one that a file's tests share, on every ledger that there is."""

from uuid import uuid4

import pytest

from tests.ledger.conftest import postgres_server  # noqa: F401  # a fixture
from tests.service.serving import DIGITS_FACTS, serving
from workers.ledger.ledger import Ledger
from workers.places import Places


@pytest.fixture
def places(tmp_path):
    return places_in(tmp_path)


@pytest.fixture
def open_ledger(places):
    """An empty ledger of SQLite that knows the digits."""
    with Ledger.open(places.home) as ledger:
        ledger.publish_dataset("digits", DIGITS_FACTS["sha256"], DIGITS_FACTS)
        yield ledger


@pytest.fixture
def service(open_ledger, places):
    """A service on SQLite that no other test has seen."""
    with serving(open_ledger, places) as running:
        yield running


@pytest.fixture
def client(service):
    """A client that may read and submit."""
    with service.client() as opened:
        yield opened


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def any_service(request, tmp_path_factory):
    """A service on SQLite, then one on Postgres. Tests share it: each has keys, and so studies, of its own."""
    folder = tmp_path_factory.mktemp("service")
    place = folder if request.param == "sqlite" else _schema(request.getfixturevalue("postgres_server"))
    with Ledger.open(place) as ledger:
        ledger.publish_dataset("digits", DIGITS_FACTS["sha256"], DIGITS_FACTS)
        with serving(ledger, places_in(folder)) as running:
            yield running


def places_in(folder):
    return Places.resolve(home=str(folder / "home"), tracking_uri="none", environment={})


def _schema(server):
    name = f"service_{uuid4().hex}"
    server.psql(f"CREATE SCHEMA {name};")
    return f"{server.get_uri()}&options=-csearch_path%3D{name}"

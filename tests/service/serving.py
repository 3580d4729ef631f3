"""A real uvicorn on loopback around an application, for tests that speak HTTP; and small studies to send."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import structlog
import uvicorn

from service.app import create_app
from service.logs import configure_logging
from service.protocol import ProblemProtocol
from service.settings import Settings
from workers.ledger.ledger import Ledger
from workers.places import Places

DIGITS_FACTS = {
    "kind": "digits",
    "sha256": "d" * 64,
    "num_train": 1149,
    "num_validation": 288,
    "num_test": 360,
    "num_classes": 10,
    "input_shape": [64],
    "reference_loss": 2.3,
    "source": "test",
}
STUDY_FIELDS = {
    "id", "name", "owner", "state", "reason", "publishing", "cancel_requested", "priority", "spec_hash", "total",
    "counts", "steps", "steps_unfinished", "device_class", "version", "created_at", "updated_at", "finished_at",
    "links",
}  # fmt: skip


@dataclass
class Service:
    """An application that is served, and its ledger."""

    app: Any
    ledger: Ledger
    url: str

    def key(self, *scopes: str, owner: str | None = None) -> str:
        """A new key's secret."""
        return self.ledger.create_key("test", scopes or ("read", "submit"), owner)[1]

    def client(self, key: str | None = None, **more: Any) -> httpx.Client:
        """A client with that key (default: a new one that reads and submits)."""
        headers = {"Authorization": f"Bearer {self.key() if key is None else key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30.0, trust_env=False, **more)

    def anonymous(self) -> httpx.Client:
        """A client without a key."""
        return httpx.Client(base_url=self.url, timeout=30.0, trust_env=False)


@contextmanager
def serving(ledger: Ledger, places: Places, **settings: Any) -> Iterator[Service]:
    """Serve an application on that ledger until the block ends."""
    configure_logging()
    app = create_app(Settings(places=places, **settings), ledger)
    try:
        with served(app) as url:
            yield Service(app, ledger, url)
    finally:
        structlog.reset_defaults()  # the stream is this test's alone


@contextmanager
def served(app: Any, *, port: int = 0) -> Iterator[str]:
    """The base URL of the application, on a port of its own unless one is given."""
    facts = {
        "http": ProblemProtocol,
        "log_config": None,
        "ws": "none",
        "lifespan": "on",
        "loop": "asyncio",
        "timeout_graceful_shutdown": 1,
    }
    server = uvicorn.Server(uvicorn.Config(app, port=port, **facts))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive(), "uvicorn did not start"
            assert time.monotonic() < until, "uvicorn did not start in time"
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


def study(num_seeds: int = 2, *, name: str = "small", rates: tuple[float, ...] = (0.01, 0.1), steps: int = 20) -> Any:
    """A study of 2 x len(rates) x num_seeds trials on the digits."""
    return {
        "schema_version": 1,
        "name": name,
        "workloads": [
            {
                "name": "digits-mlp",
                "task": "classification",
                "model": {"kind": "mlp", "widths": [8]},
                "dataset": {"kind": "digits"},
                "loss": {"kind": "cross_entropy"},
                "budget": {"steps": steps},
            }
        ],
        "optimizers": [{"name": "sgd", "kind": "sgd", "peak_lrs": {"values": list(rates)}}],
        "schedules": [
            {"name": "none", "warmup": {"kind": "none"}, "decay": {"kind": "cosine"}},
            {"name": "linear", "warmup": {"kind": "linear", "steps": 5}, "decay": {"kind": "cosine"}},
        ],
        "seeds": {"count": num_seeds},
        "analysis": {"baseline": "none", "metric": "validation_loss"},
    }

"""What a publisher's log says of a tracker that is down: one line, not one for each try."""

import logging
import signal
from collections.abc import Callable
from functools import partial

import pytest
import stamina

from tests.cluster.conftest import House, make_house  # noqa: F401 - a fixture
from workers.tracking import __main__ as publishing
from workers.tracking.loop import run_publisher
from workers.tracking.memory_tracker import MemoryTracker


def test_a_tracker_that_is_down_is_said_once(
    make_house: Callable[[], House],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    house, tracker = make_house(), MemoryTracker()
    tracker.is_down = True
    monkeypatch.setattr(publishing, "open_tracker", lambda uri, home: tracker)
    monkeypatch.setattr(publishing, "run_publisher", partial(run_publisher, drain_s=2.0))
    before = signal.getsignal(signal.SIGTERM)
    levels = {name: logging.getLogger(name).level for name in ("urllib3", "alembic")}
    try:
        uri = f"sqlite:///{house.places.home / 'mlflow.sqlite'}"
        places = ("--home", str(house.places.home), "--tracking-uri", uri)
        with caplog.at_level(logging.WARNING):
            assert publishing.main(["--study", house.study.id, *places]) == publishing.EXIT_BEHIND
    finally:
        signal.signal(signal.SIGTERM, before)
        stamina.instrumentation.set_on_retry_hooks(None)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    assert [record.name for record in caplog.records] == ["warmup_bench.tracking"]
    assert "retry" not in "".join(capfd.readouterr())
    assert house.ledger.study(house.study.id).publishing == "behind"

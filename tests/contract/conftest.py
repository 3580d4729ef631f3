"""The service that the contract is held against, with a study in it whose trials ended in NaN and infinity."""

import sys
from uuid import uuid4

import pytest
import structlog

from schemas.study import parse_study
from schemas.trials import Outcome
from service import report_writer
from service.app import create_app
from service.logs import configure_logging
from service.settings import Settings
from tests.ledger.conftest import postgres_server  # noqa: F401  # a fixture
from tests.ledger.making import drive, finish, packs_of
from tests.service.serving import DIGITS_FACTS, study
from workers.ledger.ledger import Ledger
from workers.places import Places
from workers.planning import expand_trials
from workers.studies import create_study, published_datasets

OWNER = "team"
WRITES_AT_ONCE = """
import json, pathlib, sys
folder = pathlib.Path(json.load(sys.stdin)["folder"])
folder.mkdir()
for name, text in {"report.json": '{"verdict": ""}', "report.html": "<p>", "verdict.txt": ""}.items():
    (folder / name).write_text(text)
"""
"""In place of analysis, which takes seconds for each of the hundreds of studies that are submitted."""


@pytest.fixture
def ledger_place(tmp_path):
    """Where the ledger is; a test may ask for another."""
    return str(tmp_path)


@pytest.fixture
def postgres_place(request):
    """A schema of its own on a Postgres server."""
    server = request.getfixturevalue("postgres_server")
    name = f"contract_{uuid4().hex}"
    server.psql(f"CREATE SCHEMA {name};")
    return f"{server.get_uri()}&options=-csearch_path%3D{name}"


@pytest.fixture
def contract_app(tmp_path, ledger_place, monkeypatch):
    """(application, key)."""
    monkeypatch.setattr(report_writer, "module_command", lambda _: [sys.executable, "-S", "-c", WRITES_AT_ONCE])
    places = Places.resolve(home=str(tmp_path), tracking_uri="none", environment={})
    with Ledger.open(ledger_place) as ledger, (tmp_path / "log").open("w") as log:
        configure_logging(log)
        ledger.publish_dataset("digits", DIGITS_FACTS["sha256"], DIGITS_FACTS)
        _, key = ledger.create_key("contract", ["read", "submit"], OWNER)
        _make_diverged_study(ledger)
        yield create_app(Settings(places=places, key_cache_s=10), ledger), key
        structlog.reset_defaults()


def _make_diverged_study(ledger):
    parsed = parse_study(study(name="diverged"))
    made = create_study(ledger, parsed, expand_trials(parsed, published_datasets(ledger)), owner=OWNER)
    fence = drive(ledger, made.id)
    packs = packs_of(made.id, list(ledger.trials(made.id)))
    ledger.write_plan(made.id, 0, packs, fence, "cpu")
    numbers = {"max_loss": float("inf"), "final": {"train_loss": float("nan")}, "start_loss": -float("inf")}
    finish(ledger, made.id, fence, [pack.pack_id for pack in packs], outcome=Outcome.DIVERGED, **numbers)

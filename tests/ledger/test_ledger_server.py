"""A ledger on a server: connections are kept, looked after, and asked without a transaction around each question."""

import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import text

from schemas.errors import PlaceError
from tests.ledger.making import new_study
from workers.ledger import dialect

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("place", ["postgres"], indirect=True)]


def end_connections(server):
    """As a server that is restarted does."""
    mine = "application_name = 'warmup-bench' AND pid <> pg_backend_pid()"
    server.psql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine};")


def test_a_connection_that_was_silent_is_tried_before_it_is_used(ledger, postgres_server, monkeypatch):
    study = new_study(ledger)
    monkeypatch.setattr(dialect, "PING_AFTER_S", 0.0)
    end_connections(postgres_server)
    assert ledger.study(study.id).id == study.id


def test_one_that_was_used_a_moment_ago_is_not_tried_and_its_loss_is_said_once(ledger, postgres_server, monkeypatch):
    study = new_study(ledger)
    monkeypatch.setattr(dialect, "PING_AFTER_S", 60.0)
    end_connections(postgres_server)
    with pytest.raises(PlaceError):
        ledger.study(study.id)
    assert ledger.study(study.id).id == study.id


def test_a_question_begins_no_transaction_and_a_write_still_does(ledger):
    with ledger.read() as connection:
        connection.execute(text("SELECT 1"))
        assert connection.connection.dbapi_connection.info.transaction_status is TransactionStatus.IDLE
    with ledger.write() as connection:
        connection.execute(text("SELECT 1"))
        assert connection.connection.dbapi_connection.info.transaction_status is TransactionStatus.INTRANS

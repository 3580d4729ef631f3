"""Opening a home: fresh, current, older, newer, foreign, unwritable, full."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event

from schemas.errors import PlaceError
from tests.ledger.making import digest, finish, new_study, new_trials, planned
from workers.ledger import opening, tables
from workers.ledger.dialect import WRITES, connect
from workers.ledger.ledger import Ledger
from workers.ledger.place import resolve

ROOT = Path(__file__).parents[2]
NEXT = f"{int(tables.REVISION) + 1:04}"
NEXT_MIGRATION = f"""
import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{tables.REVISION}"


def upgrade():
    with op.batch_alter_table("studies", recreate="always") as studies:
        studies.add_column(sa.Column("colour", sa.Text()))
"""


@pytest.fixture
def next_version(tmp_path_factory, monkeypatch):
    """A context in which the program is one migration ahead."""
    migrations = tmp_path_factory.mktemp("next") / "migrations"
    shutil.copytree(opening.MIGRATIONS, migrations)
    (migrations / "versions" / f"{NEXT}_colour.py").write_text(NEXT_MIGRATION)

    @contextmanager
    def installed():
        with monkeypatch.context() as patch:
            patch.setattr(opening, "MIGRATIONS", migrations)
            patch.setattr(tables, "REVISION", NEXT)
            yield

    return installed


def schema(file):
    """name -> columns, as SQLite sees them, keys and conditions of indexes included."""
    connection = sqlite3.connect(file)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    seen = {
        name: (
            connection.execute(f"PRAGMA table_info('{name}')").fetchall(),
            sorted(row[2:] for row in connection.execute(f"PRAGMA foreign_key_list('{name}')")),
            sorted(
                (row[1], row[2], connection.execute(f"PRAGMA index_xinfo('{row[1]}')").fetchall())
                for row in connection.execute(f"PRAGMA index_list('{name}')")
            ),
        )
        for name in names
    }
    conditions = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql LIKE '% WHERE %' ORDER BY name")
    seen["conditions"] = [(name, sql.split(" WHERE ")[1]) for name, sql in conditions]
    connection.close()
    return seen


def migrated(place):
    """An empty database brought up to date by the migrations alone; its engine."""
    engine = connect(place.url, enforce_foreign_keys=False)
    config = Config()
    config.set_main_option("script_location", str(opening.MIGRATIONS))
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return engine


def test_the_newest_migration_is_the_revision_that_the_code_knows():
    assert ScriptDirectory(str(opening.MIGRATIONS)).get_heads() == [tables.REVISION]


def test_migrations_make_the_tables_that_the_code_knows(place):
    if isinstance(place, Path):
        place = place / "migrated.sqlite"
    engine = migrated(resolve(place))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()
    with Ledger.open(place) as ledger:
        new_study(ledger)


def test_a_migrated_file_and_a_fresh_one_are_the_same(tmp_path):
    migrated(resolve(tmp_path / "migrated.sqlite")).dispose()
    Ledger.open(tmp_path / "fresh.sqlite").close()
    assert schema(tmp_path / "fresh.sqlite") == schema(tmp_path / "migrated.sqlite")


def test_what_was_written_is_there_after_opening_again(place):
    with Ledger.open(place) as ledger:
        study = new_study(ledger)
        url = ledger.url
    with Ledger.open(url, create=False) as ledger:
        assert ledger.study(study.id) == study


def test_opening_a_current_file_imports_no_alembic(tmp_path):
    code = (
        "import sys; from workers.ledger.ledger import Ledger; Ledger.open(sys.argv[1]).close(); "
        "assert 'alembic' not in sys.modules"
    )
    for _ in ("fresh", "current"):
        subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, check=True)


def test_sqlite_is_opened_with_what_several_processes_need(tmp_path):
    with Ledger.open(tmp_path) as ledger, ledger.read() as connection:
        read = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "busy_timeout", "synchronous", "foreign_keys")
        }
    assert read == {"journal_mode": "wal", "busy_timeout": 30_000, "synchronous": 2, "foreign_keys": 1}


def test_an_older_home_is_copied_then_migrated(tmp_path, next_version):
    with Ledger.open(tmp_path) as ledger:
        study_id, fence, pack_ids = planned(ledger)
        finish(ledger, study_id, fence, pack_ids)
        before = (ledger.study(study_id), list(ledger.trials(study_id)), ledger.events(study_id))
    with next_version(), Ledger.open(tmp_path) as ledger:
        assert before == (ledger.study(study_id), list(ledger.trials(study_id)), ledger.events(study_id))
        new_study(ledger)
    assert "colour" in columns_of_studies(tmp_path / "ledger.sqlite")
    copy = tmp_path / f"ledger.sqlite.bak-{tables.REVISION}"
    assert "colour" not in columns_of_studies(copy)
    shutil.copy(copy, tmp_path / "copy.sqlite")
    with Ledger.open(tmp_path / "copy.sqlite") as ledger:
        assert before == (ledger.study(study_id), list(ledger.trials(study_id)), ledger.events(study_id))


def columns_of_studies(file):
    connection = sqlite3.connect(file)
    names = [row[1] for row in connection.execute("PRAGMA table_info('studies')")]
    connection.close()
    return names


def test_a_migration_that_fails_leaves_the_old_home_as_it_was(tmp_path, next_version):
    with Ledger.open(tmp_path) as ledger:
        study = new_study(ledger)
    with next_version():
        broken = opening.MIGRATIONS / "versions" / f"{NEXT}_colour.py"
        broken.write_text(NEXT_MIGRATION + "    raise RuntimeError('broken')\n")
        with pytest.raises(RuntimeError, match="broken"):
            Ledger.open(tmp_path)
    with Ledger.open(tmp_path) as ledger:
        assert ledger.study(study.id) == study


def test_a_newer_home_is_refused_with_what_to_do_and_left_alone(place, next_version):
    with next_version(), Ledger.open(place) as ledger:
        url = ledger.url
    with pytest.raises(PlaceError, match=rf"schema {NEXT} is newer .* {tables.REVISION}; install a newer warmup-bench"):
        Ledger.open(url)


def test_a_ledger_without_a_column_that_it_should_have_is_said_with_what_to_do(place):
    with Ledger.open(place) as ledger:
        study = new_study(ledger)
        with ledger.write() as connection:
            connection.exec_driver_sql("ALTER TABLE packs DROP COLUMN fence")
        with pytest.raises(PlaceError, match=r"tables are not those .*fence.*; move it away or name another home"):
            ledger.packs(study.id)


def test_a_ledger_without_a_table_that_it_should_have_is_said_with_what_to_do(place):
    with Ledger.open(place) as ledger:
        with ledger.write() as connection:
            connection.exec_driver_sql("DROP TABLE catalog")
        with pytest.raises(PlaceError, match=r"tables are not those .*catalog.*; move it away or name another home"):
            ledger.datasets()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DELETE FROM alembic_version", "has lost its schema's number; move it away or name another home"),
        ("DROP TABLE alembic_version", "has lost its schema's number; move it away or name another home"),
        ("INSERT INTO alembic_version VALUES ('0009')", f"its schema {tables.REVISION} and 0009 is newer than any"),
        ("UPDATE alembic_version SET version_num = 'x\u001b[31m'", "is newer than any"),
    ],
)
def test_a_ledger_whose_schema_s_number_is_damaged_is_refused_and_left_alone(place, damage, said):
    with Ledger.open(place) as ledger:
        new_study(ledger)
        url = ledger.url
        with ledger.write() as connection:
            connection.exec_driver_sql(damage)
    with pytest.raises(PlaceError, match=said):
        Ledger.open(url)


def test_a_database_of_another_program_is_refused(tmp_path):
    other = sqlite3.connect(tmp_path / "ledger.sqlite")
    other.execute("CREATE TABLE songs (title TEXT)")
    other.close()
    with pytest.raises(PlaceError, match="another program"):
        Ledger.open(tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "ledger.sqlite").write_text("not a database" * 100)
    with pytest.raises(PlaceError, match=r"ledger\.sqlite: it is no SQLite file"):
        Ledger.open(tmp_path)


def test_without_create_a_missing_ledger_is_said_and_nothing_made(tmp_path):
    with pytest.raises(PlaceError, match="there is none here"):
        Ledger.open(tmp_path / "home", create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaceError, match=r"file/home/ledger\.sqlite: its folder cannot be made"):
        Ledger.open(tmp_path / "file" / "home")


def test_a_ledger_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "ledger.sqlite").mkdir()
    with pytest.raises(PlaceError, match=r"ledger\.sqlite: it cannot be opened"):
        Ledger.open(tmp_path)


@pytest.mark.parametrize(
    "bad", ["mysql://host/db", "sqlite://", "sqlite:///:memory:", "postgresql://host:port/db", "://"]
)
def test_a_url_that_cannot_hold_a_ledger_is_refused(bad):
    with pytest.raises(PlaceError, match="ledger"):
        Ledger.open(bad)


def test_a_password_is_not_shown():
    place = resolve("postgresql://user:secret@host/name")
    assert "secret" not in str(place)


def pragma(ledger, text):
    """Run a PRAGMA on every connection that the ledger begins to write on."""

    @event.listens_for(ledger.engine, "begin")
    def apply(connection):
        connection.exec_driver_sql(f"PRAGMA {text}")


def test_a_read_only_place_is_named_and_can_still_be_read(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        study = new_study(ledger)
        pragma(ledger, "query_only = ON")
        with pytest.raises(PlaceError, match=r"ledger\.sqlite: it cannot be written"):
            ledger.request_cancel(study.id)
        assert ledger.study(study.id) == study


def test_on_a_full_disk_the_place_is_named_and_what_was_committed_is_kept(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        study = new_study(ledger)
        pragma(ledger, "max_page_count = 1")  # SQLite's own "no more room"
        with pytest.raises(PlaceError, match=r"ledger\.sqlite: the disk is full"):
            ledger.create_study(name="x", spec={}, spec_hash=digest("x"), trials=new_trials(2_000), total=2_000)
    with Ledger.open(tmp_path) as ledger:
        assert [row.id for row in ledger.list_studies()[0]] == [study.id]

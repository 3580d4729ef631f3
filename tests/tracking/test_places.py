"""Where runs go: the home by default, another place on request, nowhere for `none`."""

from pathlib import Path

import pytest

from schemas.errors import PlaceRefused
from workers.tracking.places import open_tracker, tracking_uri, without_password


def test_the_default_is_a_file_in_the_home(tmp_path: Path):
    assert tracking_uri(None, tmp_path) == tracking_uri("", tmp_path) == f"sqlite:///{tmp_path}/mlflow.sqlite"


def test_none_is_nowhere(tmp_path: Path):
    assert open_tracker("none", tmp_path) is None


def test_a_server_is_taken_as_it_is(tmp_path: Path):
    assert tracking_uri("http://mlflow:5000", tmp_path) == "http://mlflow:5000"


def test_a_relative_file_does_not_depend_on_later_changes_of_folder(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert tracking_uri("sqlite:///runs.db", Path("home")) == f"sqlite:///{tmp_path}/runs.db"
    assert tracking_uri(None, Path("home")) == f"sqlite:///{tmp_path}/home/mlflow.sqlite"


REFUSED = [
    *("./mlruns", "file:///tmp/mlruns", "sqlite:///", "sqlite://", "nowhere", "ftp://host/x", "databricks", "s3://b/x"),
    *(
        "http://",
        "https:///path",
        "http://host:port",
        "http://[::1",
        "postgresql:db",
        "postgresql://",
        "mysql+odd://h/d",
    ),
]


@pytest.mark.parametrize("asked", REFUSED)
def test_what_mlflow_cannot_keep_runs_at_is_refused(asked, tmp_path: Path):
    with pytest.raises(
        PlaceRefused, match=r"--tracking-uri .*: got .*, allowed sqlite:///FILE, http\(s\)://HOST, .* none"
    ):
        tracking_uri(asked, tmp_path)


@pytest.mark.parametrize(
    ("asked", "package"),
    [
        ("postgresql://host/runs", "psycopg[binary]"),
        ("postgresql+psycopg2://host/runs", "psycopg2-binary"),
        ("mysql://host/runs", "mysqlclient"),
        ("mysql+pymysql://user@host:3306/runs", "PyMySQL"),
        ("mssql+pyodbc://host/runs", "pyodbc"),
    ],
)
def test_a_database_is_taken_where_its_driver_is_installed_and_named_where_not(asked, package, tmp_path, monkeypatch):
    monkeypatch.setattr("workers.tracking.places.find_spec", lambda module: object())
    assert tracking_uri(asked, tmp_path) == asked
    monkeypatch.setattr("workers.tracking.places.find_spec", lambda module: None)
    with pytest.raises(PlaceRefused) as refused:
        tracking_uri(asked, tmp_path)
    assert f"pip install '{package}'" in str(refused.value)


def test_a_password_is_not_printed(tmp_path: Path):
    with pytest.raises(PlaceRefused) as refused:
        tracking_uri("ftp://user:sec@ret@host/x", tmp_path)
    assert "ftp://user:***@host/x" in str(refused.value)
    assert without_password("http://host:5000/a:b@c") == "http://host:5000/a:b@c"


def test_opening_a_tracker_touches_nothing(tmp_path: Path):
    open_tracker(None, tmp_path / "home")
    assert not (tmp_path / "home").exists()

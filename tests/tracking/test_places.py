"""Where runs go: the home by default, another place on request, nowhere for `none`."""

from pathlib import Path

import pytest

from schemas.errors import PlaceError
from workers.tracking.places import open_tracker, tracking_uri


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


@pytest.mark.parametrize("asked", ["./mlruns", "file:///tmp/mlruns", "sqlite:///", "sqlite://"])
def test_what_mlflow_cannot_keep_runs_at_is_refused(asked, tmp_path: Path):
    with pytest.raises(PlaceError, match="tracking_uri"):
        tracking_uri(asked, tmp_path)


def test_opening_a_tracker_touches_nothing(tmp_path: Path):
    open_tracker(None, tmp_path / "home")
    assert not (tmp_path / "home").exists()

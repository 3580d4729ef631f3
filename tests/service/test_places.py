"""Where things lie: flags before the environment, the environment before the home."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import PlaceError, PlaceRefused
from service.requests import check_workers
from workers.cores import num_cores
from workers.launcher import child_environment, module_command, start_publisher
from workers.places import DATABASE_URL, DATABASE_URL_FILE, LEDGER, Places, database_url
from workers.writable import why_unwritable


def test_everything_lies_in_the_home_unless_told(tmp_path: Path) -> None:
    places = Places.resolve(home=str(tmp_path), environment={})
    assert (places.home, places.records, places.data) == (tmp_path, str(tmp_path / "records"), tmp_path / "data")
    assert places.tracking_uri == f"sqlite:///{tmp_path / 'mlflow.sqlite'}"


def test_a_flag_wins_over_the_environment_and_the_environment_over_the_home(tmp_path: Path) -> None:
    environment = {
        "WARMUP_BENCH_HOME": str(tmp_path / "e"),
        "WARMUP_BENCH_RECORDS": "/r",
        "MLFLOW_TRACKING_URI": "none",
    }
    places = Places.resolve(records="/flag", environment=environment)
    assert (places.home, places.records, places.tracking_uri) == (tmp_path / "e", "/flag", None)
    assert Places.resolve(environment=environment).records == "/r"


def test_relative_places_are_made_absolute_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    places = Places.resolve(home="h", records="r r", data="d", environment={})
    monkeypatch.chdir("/")
    assert (places.home, places.records, places.data) == (tmp_path / "h", str(tmp_path / "r r"), tmp_path / "d")


def test_a_url_of_records_is_left_as_it_is(tmp_path: Path) -> None:
    assert Places.resolve(home=str(tmp_path), records="s3://bucket/x", environment={}).records == "s3://bucket/x"


@pytest.mark.parametrize(
    ("records", "reason"), [("sftp://host/x", "a place that needs a package"), ("nowhere://x/y", "an unknown protocol")]
)
def test_records_in_a_store_that_cannot_be_reached_from_here_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: str, reason: str
) -> None:
    monkeypatch.setitem(sys.modules, "paramiko", None)  # what sftp needs
    places = Places.resolve(home=str(tmp_path / "home"), records=records, environment={})
    with pytest.raises(PlaceError, match=rf"^--records \(WARMUP_BENCH_RECORDS\): got {records}: {reason}"):
        places.check_writable()
    assert not (tmp_path / "home").exists()


def test_flags_give_a_child_the_same_places(tmp_path: Path) -> None:
    places = Places.resolve(home=str(tmp_path / "a b"), records="s3://b/x", tracking_uri="none", environment={})
    flags = places.flags()
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    again = Places.resolve(
        home=given["--home"],
        records=given["--records"],
        data=given["--data"],
        tracking_uri=given["--tracking-uri"],
        environment={},
    )
    assert again == places


def test_a_home_that_cannot_be_made_is_said_with_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaceError, match=r"--home \(WARMUP_BENCH_HOME\): got .*/file/home: Not a directory"):
        Places.resolve(home=str(tmp_path / "file" / "home"), environment={}).make_home()


def test_children_see_neither_the_users_modules_nor_another_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR"):
        monkeypatch.setenv(name, "something")
    environment = child_environment("0123456789abcdef")
    assert not {"PYTHONPATH", "RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR"} & environment.keys()
    assert environment["WARMUP_BENCH_RUN"] == "0123456789abcdef"
    assert environment["PATH"] == os.environ["PATH"]
    assert "-P" in module_command("workers.cluster")


def test_looking_whether_a_folder_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    places = Places.resolve(home=str(tmp_path / "a" / "home"), records=str(tmp_path / "b" / "c"), environment={})
    places.check_writable()
    assert list(tmp_path.iterdir()) == []


def test_looking_whether_a_folder_can_be_written_keeps_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    assert why_unwritable(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("most", [1, 4 * num_cores()])
def test_as_many_workers_as_the_machine_can_feed_are_taken(most: int) -> None:
    check_workers(most)
    check_workers(None)


URL = "postgresql+psycopg://me:secret@postgres:5432/warmup_bench"


def test_the_databases_url_comes_from_the_flag_the_variable_or_the_file_that_one_names(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"  {URL}\r\n")
    assert database_url({}) is None
    assert database_url({DATABASE_URL: "", DATABASE_URL_FILE: ""}) is None
    assert database_url({DATABASE_URL: URL}) == database_url({DATABASE_URL: f" {URL}\n"}) == URL
    assert database_url({DATABASE_URL_FILE: str(file)}) == URL
    both = {DATABASE_URL: URL, DATABASE_URL_FILE: str(file)}
    assert database_url(both, "postgresql://flag/x") == "postgresql://flag/x"
    with pytest.raises(PlaceRefused, match="WARMUP_BENCH_DATABASE_URL is set too, allowed one of"):
        database_url(both)
    with pytest.raises(PlaceRefused, match=r"^--database-url: got '': no address"):
        database_url({}, "")
    for wrong in ({DATABASE_URL: "secret"}, {}):
        with pytest.raises(PlaceRefused, match="got something that is no URL, allowed postgresql") as refused:
            database_url(wrong, None if wrong else "secret")
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"\n", "an empty file"),
        (b"postgresql://secret\nmore\n", "more than one line"),
        (b"postgresql://secret\x1b[2J", "more than one line of printable text"),
        (b"x" * 10_000, "more than one line"),
        (b"postgresql://secret\xff", "no UTF-8"),
        (b"secret", "something that is no URL"),
        (b"secret words/x", "something that is no URL"),
        (b'"postgresql://secret"', "something that is no URL"),
    ],
)
def test_a_file_without_one_url_is_refused_and_what_it_holds_is_not_shown(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "url"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(PlaceRefused, match=reason) as refused:
        database_url({DATABASE_URL_FILE: str(file)})
    assert DATABASE_URL_FILE in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_child_is_told_its_ledger_and_reads_no_database_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATABASE_URL, URL)
    monkeypatch.setenv(DATABASE_URL_FILE, "/x")
    assert not {DATABASE_URL, DATABASE_URL_FILE} & set(child_environment())


def test_a_child_is_told_the_ledger_by_the_file_that_named_it(monkeypatch, tmp_path):
    file, started = tmp_path / "url", []
    file.write_text("postgresql+psycopg://user:secret@host/ledger\n")
    monkeypatch.setenv(DATABASE_URL_FILE, str(file))
    monkeypatch.setattr("workers.launcher.subprocess.Popen", lambda *_, env, **__: started.append(env))
    named = Places.resolve(home=str(tmp_path), ledger=database_url())
    start_publisher("0123456789abcdef", named, follow=False)
    start_publisher("0123456789abcdef", replace(named, ledger=str(tmp_path / "ledger.sqlite")), follow=False)
    by_file, by_place = started
    assert by_file[DATABASE_URL_FILE] == str(file)
    assert "secret" not in " ".join(by_file.values())
    assert (by_place[LEDGER], DATABASE_URL_FILE in by_place) == (str(tmp_path / "ledger.sqlite"), False)

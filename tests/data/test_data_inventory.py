"""The list of sets says what is here, whether it is right, and how to get the rest."""

import hashlib
import json
from pathlib import Path

import pytest

from workers.data import SetStatus, inventory, list_sets
from workers.data.__main__ import main
from workers.data.inventory import FILES, KnownFiles
from workers.data.sets import LOADERS

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason="there is no ../shared/data here")
CONTENT = b"to be or not to be"


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> None:
    """One known set of one small file."""
    known = KnownFiles("public domain", {"play/input.txt": hashlib.sha256(CONTENT).hexdigest()})
    monkeypatch.setattr(inventory, "FILES", {"play": known})


def put(folder: Path, content: bytes) -> Path:
    path = folder / "play" / "input.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def status(folder: Path | None, **options: object) -> SetStatus:
    return next(one for one in list_sets(folder, **options) if one.name == "play")  # type: ignore[arg-type]


@needs_shared_data
@pytest.mark.parametrize("name", FILES)
def test_the_shared_sets_are_present_and_right(name: str, tmp_path: Path) -> None:
    if not all((SHARED / path).is_file() for path in FILES[name].sha256):
        pytest.skip(f"../shared/data has no {name}")
    found = next(one for one in list_sets(SHARED, stamps=tmp_path / "stamps.json") if one.name == name)
    used_by = "workloads" if name in LOADERS else ""
    assert (found.state, found.sha256_ok, found.used_by) == ("present", True, used_by)
    assert found.num_bytes == sum((SHARED / path).stat().st_size for path in FILES[name].sha256)


@pytest.mark.parametrize("folder", [None, Path("no/such/folder")])
def test_without_a_data_directory_every_set_of_files_is_missing(folder: Path | None) -> None:
    found = {one.name: one for one in list_sets(folder)}
    assert {"cifar10", "fashion_mnist", "tinyshakespeare"} <= set(found)
    assert all(found[name].state == "missing" and found[name].sha256_ok is None for name in FILES)
    assert "cifar10/train.npz" in found["cifar10"].get


def test_digits_are_present_wherever_scikit_learn_is() -> None:
    pytest.importorskip("sklearn")
    found = next(one for one in list_sets(None) if one.name == "digits")
    assert (found.state, found.sha256_ok, found.used_by) == ("present", True, "workloads")


def test_missing_digits_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "packaged_csv", lambda: None)
    found = next(one for one in list_sets(None) if one.name == "digits")
    assert (found.state, found.sha256_ok, found.get) == ("missing", None, "python -m pip install scikit-learn")


@pytest.mark.usefixtures("play")
def test_other_bytes_under_a_known_name_are_told(tmp_path: Path) -> None:
    put(tmp_path, CONTENT)
    assert status(tmp_path).sha256_ok is True
    put(tmp_path, CONTENT + b"?")
    assert status(tmp_path).sha256_ok is False


@pytest.mark.usefixtures("play")
def test_a_stamp_spares_the_second_reading_and_a_changed_file_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = tmp_path / "home" / "stamps.json"
    put(tmp_path, CONTENT)
    assert status(tmp_path, check=False, stamps=stamps).sha256_ok is None
    assert status(tmp_path, stamps=stamps).sha256_ok is True
    with monkeypatch.context() as patched:
        patched.setattr(hashlib, "file_digest", None)
        assert status(tmp_path, stamps=stamps).sha256_ok is True
        assert status(tmp_path, check=False, stamps=stamps).sha256_ok is True
    put(tmp_path, CONTENT.upper() + b"!")
    assert status(tmp_path, stamps=stamps).sha256_ok is False


@pytest.mark.usefixtures("play")
def test_listing_writes_nothing_into_the_data_directory(tmp_path: Path) -> None:
    path = put(tmp_path, CONTENT)
    list_sets(tmp_path)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


@pytest.mark.usefixtures("play")
@pytest.mark.parametrize("content", ["", "[1, 2]", "{torn", '{"a": 1}'])
def test_torn_stamps_cost_a_reading_and_nothing_else(tmp_path: Path, content: str) -> None:
    put(tmp_path, CONTENT)
    stamps = tmp_path / "stamps.json"
    stamps.write_text(content)
    assert status(tmp_path, stamps=stamps).sha256_ok is True


@pytest.mark.usefixtures("play")
def test_a_home_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    put(tmp_path, CONTENT)
    (tmp_path / "home").write_text("not a folder")
    assert status(tmp_path, stamps=tmp_path / "home" / "stamps.json").sha256_ok is True


@pytest.mark.usefixtures("play")
def test_the_command_lists_as_a_table_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, CONTENT)
    where = ["--home", str(tmp_path / "home"), "--data", str(tmp_path)]
    assert main(["--list", *where]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:5] for line in lines if line[0] == "play"] == [["play", "present", "18", "sha256", "ok"]]
    assert main(["--list", "--json", *where]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in listed] == ["digits", "play"]
    assert listed[1]["num_bytes"] == len(CONTENT)


def test_the_command_reads_its_places_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WARMUP_BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WARMUP_BENCH_DATA", str(tmp_path / "elsewhere"))
    main(["--list"])
    assert str(tmp_path / "elsewhere") in capsys.readouterr().out

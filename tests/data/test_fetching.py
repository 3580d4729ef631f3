"""Fetching and importing put a whole set into the data directory, or leave what stood there."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from schemas.catalog import FETCHABLE
from schemas.errors import FetchFailed, PlaceError, SpecError
from tests.data import lying_server as server
from tests.data.lying_server import Home, serving
from tests.data.making import made_up, sources_at
from tests.data.test_converting import SHARED
from workers.data import fetching, installing
from workers.data.download import Patience
from workers.data.fetching import fetch, take
from workers.data.inventory import FILES, set_status
from workers.data.originals import SOURCES, Source

HASTY = Patience(connect_s=2.0, stall_s=0.15, fruitless_tries=2, fruit_bytes=100, first_wait_s=0.0)
ORIGINALS = made_up(np.random.default_rng(0))


@pytest.fixture(scope="module")
def running() -> Iterator[Home]:
    with serving() as home:
        yield home


@pytest.fixture
def home(running: Home) -> Home:
    running.files, running.plays, running.requests = dict(ORIGINALS), {}, []
    return running


@pytest.fixture
def sources(home: Home) -> dict[str, Source]:
    return sources_at(home)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def bring(data: Path, sources: dict[str, Source]) -> Callable[..., bool]:
    return lambda name, **how: fetch(name, data, sources=sources, patience=HASTY, **how)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


def test_every_set_of_files_has_a_home_and_a_command() -> None:
    assert set(SOURCES) == set(FILES) == set(FETCHABLE)
    for name, source in SOURCES.items():
        assert source.licence == FILES[name].licence
        assert all(each.url.startswith("https://") for each in source.originals)


@pytest.mark.parametrize("name", FETCHABLE)
def test_a_fetched_set_lies_there_whole_with_its_record(bring: Callable[..., bool], data: Path, name: str) -> None:
    assert bring(name) is True
    status = set_status(name, data)
    assert (status.state, status.sha256_ok) == ("present", True)
    names = {Path(file).name for file in FILES[name].sha256}
    assert {path.name for path in (data / name).iterdir()} == names | {"source.json"}
    record = json.loads((data / name / "source.json").read_text())
    assert {file: each["sha256"] for file, each in record["files"].items()} == {
        file: hashlib.sha256((data / name / file).read_bytes()).hexdigest() for file in names
    }
    for file, said in record["originals"].items():
        assert said == {"bytes": len(ORIGINALS[file]), "sha256": hashlib.sha256(ORIGINALS[file]).hexdigest()}
    assert not (data / ".incoming" / name).exists()


@pytest.mark.parametrize("name", ["cifar10", "fashion_mnist", "fsdd"])
def test_its_arrays_have_the_names_and_types_of_the_known_ones(
    bring: Callable[..., bool], data: Path, name: str
) -> None:
    bring(name)
    for relative in FILES[name].sha256:
        if not (SHARED / relative).is_file():
            pytest.skip(f"there is no {relative} in the data directory")
        with (
            np.load(SHARED / relative, allow_pickle=False) as known,
            np.load(data / relative, allow_pickle=False) as made,
        ):
            assert made.files == known.files
            for array in known.files:
                assert (made[array].dtype, made[array].ndim) == (known[array].dtype, known[array].ndim)


def test_a_set_that_is_here_is_not_fetched_again(bring: Callable[..., bool], home: Home, data: Path) -> None:
    bring("tinyshakespeare")
    before, home.requests = tree(data), []
    assert bring("tinyshakespeare") is False
    assert (tree(data), home.requests) == (before, [])


def test_what_broke_off_goes_on_with_the_next_command(bring: Callable[..., bool], home: Home, data: Path) -> None:
    home.plays["cifar-10-binary.tar.gz"] = [server.breaks_after(300), server.breaks_after(0)]
    with pytest.raises(FetchFailed, match="the same command goes on"):
        bring("cifar10")
    assert not (data / "cifar10").exists()
    home.plays, home.requests = {}, []
    bring("cifar10")
    assert home.requests == [("cifar-10-binary.tar.gz", "bytes=300-")]


def test_of_several_files_those_that_came_are_not_asked_for_again(
    bring: Callable[..., bool], home: Home, data: Path
) -> None:
    home.plays["t10k-images-idx3-ubyte.gz"] = [server.answers(404)]
    with pytest.raises(FetchFailed, match="answered 404"):
        bring("fashion_mnist")
    home.plays, home.requests = {}, []
    bring("fashion_mnist")
    assert [name for name, _ in home.requests] == ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]


def test_a_home_with_another_file_leaves_nothing(bring: Callable[..., bool], home: Home, data: Path) -> None:
    home.files["input.txt"] = home.files["input.txt"].upper()
    with pytest.raises(FetchFailed, match="sha256 got"):
        bring("tinyshakespeare")
    assert tree(data) == {}


def test_an_archive_without_a_known_hash_is_checked_by_what_it_holds(
    bring: Callable[..., bool], home: Home, data: Path
) -> None:
    good = home.files["free-spoken-digit-dataset.tar.gz"]
    home.files["free-spoken-digit-dataset.tar.gz"] = good[: len(good) // 2]
    with pytest.raises(FetchFailed, match="fsdd: what came is not the set"):
        bring("fsdd")
    assert tree(data) == {}
    home.files["free-spoken-digit-dataset.tar.gz"] = good
    assert bring("fsdd") is True


@pytest.mark.parametrize("name", ["cifar10", "tinyshakespeare"])
def test_a_disk_that_fills_up_is_said_and_leaves_no_half_set(
    bring: Callable[..., bool], data: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(installing.os, "fsync", full)
        with pytest.raises(PlaceError, match=r"No space left on device; free some space there"):
            bring(name)
    assert not (data / name).exists()
    assert {Path(file).parts[:2] for file in tree(data)} == {(".incoming", name)}  # the originals, for the next time
    assert bring(name) is True


def test_a_disk_that_fills_up_during_the_download_keeps_what_came(
    bring: Callable[..., bool], home: Home, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fills_up(file: str, here: int, total: int | None) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(PlaceError, match="No space left on device"):
        bring("tinyshakespeare", tell=fills_up)
    assert not (data / "tinyshakespeare").exists()
    assert bring("tinyshakespeare") is True


def test_too_small_a_disk_is_said_before_anything_comes(
    bring: Callable[..., bool], home: Home, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(data.parent)._replace(free=10)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(PlaceError, match=r"10 bytes free, \d+ needed"):
        bring("tinyshakespeare")
    assert home.requests == []


def test_something_else_in_its_place_is_replaced_only_when_asked(bring: Callable[..., bool], data: Path) -> None:
    (data / "tinyshakespeare").mkdir(parents=True)
    (data / "tinyshakespeare" / "input.txt").write_text("mine")
    with pytest.raises(SpecError, match=r"other bytes than the known ones.*--replace"):
        bring("tinyshakespeare")
    assert (data / "tinyshakespeare" / "input.txt").read_text() == "mine"
    assert bring("tinyshakespeare", replace=True) is True
    assert set_status("tinyshakespeare", data).state == "present"


def test_a_replacement_that_fails_leaves_what_stood_there(bring: Callable[..., bool], home: Home, data: Path) -> None:
    (data / "tinyshakespeare").mkdir(parents=True)
    (data / "tinyshakespeare" / "input.txt").write_text("mine")
    home.plays["input.txt"] = [server.answers(404)]
    with pytest.raises(FetchFailed):
        bring("tinyshakespeare", replace=True)
    assert (data / "tinyshakespeare" / "input.txt").read_text() == "mine"


def test_a_move_that_was_cut_short_is_ended_by_the_next_command(bring: Callable[..., bool], data: Path) -> None:
    bring("tinyshakespeare")
    before = tree(data / "tinyshakespeare")
    (data / "tinyshakespeare").rename(data / ".incoming" / "tinyshakespeare.old")
    with installing.incoming(data, "tinyshakespeare"):
        assert tree(data / "tinyshakespeare") == before


def test_one_command_at_a_time_brings_a_set(bring: Callable[..., bool], data: Path) -> None:
    (data / ".incoming").mkdir(parents=True)
    with (data / ".incoming" / "cifar10.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(PlaceError, match="another command is bringing cifar10 now"):
            bring("cifar10")
        assert bring("tinyshakespeare") is True


def test_a_data_directory_that_is_a_file_is_said(bring: Callable[..., bool], data: Path) -> None:
    data.write_text("not a folder")
    with pytest.raises(PlaceError, match="--data"):
        bring("cifar10")


def test_an_unknown_set_is_refused_with_those_there_are(data: Path) -> None:
    for act in (lambda: fetch("imagenet", data), lambda: take("imagenet", data, data)):
        with pytest.raises(SpecError, match="NAME: got 'imagenet', allowed cifar10, fashion_mnist"):
            act()
    assert not data.exists()


# --- import ---


def originals_in(folder: Path) -> Path:
    folder.mkdir()
    for name, content in ORIGINALS.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", FETCHABLE)
def test_originals_are_taken_over_as_if_they_were_fetched(
    bring: Callable[..., bool], data: Path, tmp_path: Path, sources: dict[str, Source], name: str
) -> None:
    folder = originals_in(tmp_path / "downloads")
    assert take(name, folder, data, sources=sources) is True
    assert take(name, folder, data, sources=sources) is False
    taken = tree(data / name)
    shutil.rmtree(data)
    bring(name)
    fetched = tree(data / name)
    assert {file: taken[file] for file in taken if file != "source.json"} == {
        file: fetched[file] for file in fetched if file != "source.json"
    }
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == ORIGINALS


@pytest.mark.parametrize(("name", "file"), [("cifar10", "cifar-10-binary.tar.gz"), ("tinyshakespeare", "input.txt")])
def test_one_original_may_be_named_itself_under_any_name(
    data: Path, tmp_path: Path, sources: dict[str, Source], name: str, file: str
) -> None:
    (tmp_path / "mine").write_bytes(ORIGINALS[file])
    assert take(name, tmp_path / "mine", data, sources=sources) is True
    assert set_status(name, data).state == "present"


@pytest.mark.parametrize("name", ["fashion_mnist", "tinyshakespeare"])
def test_a_data_directory_a_folder_of_it_or_its_one_file_is_taken_over(tmp_path: Path, name: str) -> None:
    files = [SHARED / relative for relative in FILES[name].sha256]
    if not all(file.is_file() for file in files):
        pytest.skip(f"there is no {name} in the data directory")
    for index, path in enumerate([SHARED, SHARED / name, *(files if len(files) == 1 else [])]):
        data = tmp_path / str(index)
        assert take(name, path, data) is True
        status = set_status(name, data)
        assert (status.state, status.sha256_ok) == ("present", True)
        assert (data / name / "LICENSE").is_file() == (SHARED / name / "LICENSE").is_file()


def test_a_fetched_set_may_be_carried_to_another_machine(
    bring: Callable[..., bool], data: Path, tmp_path: Path
) -> None:
    bring("cifar10")
    other = tmp_path / "other"
    assert take("cifar10", data, other) is True
    assert set_status("cifar10", other).sha256 == set_status("cifar10", data).sha256


@pytest.mark.parametrize("damage", ["other bytes", "cut", "no record"])
def test_other_bytes_are_refused_by_file_got_and_allowed(
    bring: Callable[..., bool], data: Path, tmp_path: Path, damage: str
) -> None:
    bring("cifar10")
    path = data / "cifar10" / "test.npz"
    if damage == "no record":
        (data / "cifar10" / "source.json").unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + (b"?" if damage == "other bytes" else b""))
    with pytest.raises(SpecError) as refused:
        take("cifar10", data / "cifar10", tmp_path / "other")
    fields = [problem.field for problem in refused.value.problems]
    assert fields == [str(data / "cifar10" / file) for file in ("train.npz", "test.npz")][damage != "no record" :]
    assert tree(tmp_path / "other") == {}


def test_another_original_is_refused(data: Path, tmp_path: Path, sources: dict[str, Source]) -> None:
    (tmp_path / "mine").write_bytes(b"something else")
    with pytest.raises(SpecError, match=r"mine: got sha256 [0-9a-f]{64}, allowed [0-9a-f]{64}, that of http"):
        take("cifar10", tmp_path / "mine", data, sources=sources)
    with pytest.raises(SpecError, match="fsdd: what came is not the set"):
        take("fsdd", tmp_path / "mine", data, sources=sources)
    assert (tmp_path / "mine").read_bytes() == b"something else"
    assert tree(data) == {}


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_a_path_without_the_set_is_refused_with_what_may_be_there(data: Path, tmp_path: Path, path: str) -> None:
    with pytest.raises(SpecError, match=r"PATH: got .*, allowed a folder with train\.npz and test\.npz, or"):
        take("cifar10", tmp_path / path, data)
    assert not data.exists()

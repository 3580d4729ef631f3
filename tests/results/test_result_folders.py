"""Whose a result folder is, and copying one."""

import errno
import shutil
from pathlib import Path

import pytest

from schemas.errors import PlaceError
from workers.results.folder import check_folder, claim_folder, copy_results, default_folder_name, mark, owner_of

MINE, OTHER = "0123456789abcdef", "fedcba9876543210"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "study.yaml").write_text(mark(MINE) + "name: x\n")
    (folder / "trials.parquet").write_bytes(b"rows")
    return folder


def test_the_name_of_a_folder_is_the_study_and_the_begin_of_its_id() -> None:
    assert default_folder_name("my study", MINE) == "my-study-01234567"


def test_a_folder_says_whose_it_is(results: Path) -> None:
    assert owner_of(results) == MINE


@pytest.mark.parametrize("text", [b"name: x\n", b"\xff\xfe", b""])
def test_a_folder_without_our_mark_is_nobodys(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "study.yaml").write_bytes(text)
    assert owner_of(tmp_path) is None


@pytest.mark.parametrize("check", [check_folder, claim_folder])
def test_a_study_may_write_into_its_own_folder(check, results: Path) -> None:
    check(results, MINE)


@pytest.mark.parametrize("check", [check_folder, claim_folder])
def test_nobody_elses_folder_is_written_into(check, results: Path) -> None:
    with pytest.raises(PlaceError, match=MINE):
        check(results, OTHER)


@pytest.mark.parametrize("check", [check_folder, claim_folder])
def test_a_folder_with_other_files_is_left_alone(check, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(PlaceError, match="not empty"):
        check(tmp_path, MINE)


def test_hidden_files_do_not_make_a_folder_full(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_text("")
    check_folder(tmp_path, MINE)


def test_checking_makes_nothing_and_claiming_makes_the_folder(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b", None)
    assert not (tmp_path / "a").exists()
    claim_folder(tmp_path / "a" / "b", MINE)
    assert not list((tmp_path / "a" / "b").iterdir())


@pytest.mark.parametrize("check", [check_folder, claim_folder])
def test_a_place_below_a_file_cannot_be_used(check, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaceError, match="--out"):
        check(tmp_path / "file" / "out", MINE)


def test_results_are_copied_without_hidden_files(results: Path, tmp_path: Path) -> None:
    (results / ".trials.parquet.tmp").write_text("half")
    copied = copy_results(results, tmp_path / "out", MINE)
    assert (
        {path.name for path in copied}
        == {"study.yaml", "trials.parquet"}
        == {p.name for p in (tmp_path / "out").iterdir()}
    )


def test_a_disk_that_is_full_leaves_the_old_file_and_says_where_the_results_are(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_results(results, tmp_path / "out", MINE)

    def full(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"ro")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(PlaceError, match="No space left on device; the results are kept in") as refused:
        copy_results(results, tmp_path / "out", MINE)
    assert f"warmup-bench report {MINE[:8]} --out FOLDER" in str(refused.value)
    assert (tmp_path / "out" / "trials.parquet").read_bytes() == b"rows"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"study.yaml", "trials.parquet"}

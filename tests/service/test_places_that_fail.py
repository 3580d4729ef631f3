"""A place that cannot be used: exit 2 before anything is done, said with what to do, and nothing lost."""

import sys
from pathlib import Path

import pytest

from service.cli.main import main
from tests.e2e.commands import as_file
from tests.e2e.specs import digits


@pytest.fixture
def failed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """`run` a good study with these flags; the one error line."""

    def run(*flags: object, status: int = 2) -> str:
        file = as_file(digits(60), tmp_path / "study.yaml")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["warmup-bench", "run", str(file), *map(str, flags)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == status
        said = capsys.readouterr()
        assert said.out == ""
        (line,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
        return line

    return run


def test_a_home_whose_place_a_file_has(failed, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    line = failed("--home", tmp_path / "file" / "home")
    assert "--home" in line
    assert (tmp_path / "file").read_text() == "mine"


def test_an_out_folder_with_other_files_is_left_alone(failed, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    line = failed("--home", tmp_path / "home", "--out", tmp_path / "out")
    assert "it is not empty" in line
    assert "name another folder" in line
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_an_out_folder_of_another_study_is_left_alone(failed, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.yaml").write_text("# warmup-bench study 0123456789abcdef\n")
    assert "0123456789abcdef" in failed("--home", tmp_path / "home", "--out", tmp_path / "out")


def test_an_out_folder_below_a_file(failed, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    line = failed("--home", tmp_path / "home", "--out", tmp_path / "file" / "out")
    assert line == f"error: --out: got {tmp_path}/file/out: Not a directory, allowed a folder"


def test_a_tracking_address_that_is_none(failed, tmp_path: Path) -> None:
    assert "sqlite:///FILE" in failed("--home", tmp_path / "home", "--tracking-uri", "nowhere")


LONG = "x" * 300
PLACES = {
    "a file": ("{tmp}/study.yaml", "{tmp}/study.yaml: a file, allowed a folder"),
    "below a file": ("{tmp}/study.yaml/x", "{tmp}/study.yaml/x: Not a directory, allowed a folder"),
    "too long": ("{tmp}/" + LONG, "...: File name too long, allowed a folder"),
    "an escape": ("{tmp}/a\x1b[31mb", "{tmp}/a\\x1b[31mb: control characters"),
    "bytes that are no text": ("{tmp}/a\udcff", "{tmp}/a\\udcff: control characters, or bytes that are no UTF-8"),
}
WRITTEN = {
    "too long below what is not there": ("{tmp}/new/" + LONG, "...: File name too long, allowed a folder that can be"),
    "a file system without files": ("/proc/new", "/proc/new: No such file or directory, allowed a folder that can be"),
}
CASES = [(flag, *PLACES[name]) for flag in ("--home", "--records", "--data", "--out") for name in PLACES]
CASES += [(flag, *WRITTEN[name]) for flag in ("--home", "--records", "--out") for name in WRITTEN]
CASES += [("--home", "~nobody-of-that-name/x", "home directory"), ("--home", "{tmp}/a\0b", "{tmp}/a\\x00b: control")]


@pytest.mark.parametrize(("flag", "place", "said"), CASES, ids=range(len(CASES)))
def test_a_place_that_can_be_no_folder_is_refused_before_anything_is_made(flag, place, said, failed, tmp_path) -> None:
    home = () if flag == "--home" else ("--home", tmp_path / "home")
    line = failed(*home, "--tracking-uri", "none", flag, place.format(tmp=tmp_path))
    assert line.startswith(f"error: {flag}")
    assert ": got " in line
    assert line.isprintable()
    assert said.format(tmp=tmp_path) in line
    # The folder of results is looked at once it is known whose it is: the ledger says that.
    assert {path.name for path in tmp_path.iterdir()} <= {"study.yaml", "home"} if flag == "--out" else {"study.yaml"}


def test_a_store_that_cannot_be_a_file_is_refused(failed, tmp_path: Path) -> None:
    line = failed("--home", tmp_path / "home", "--tracking-uri", f"sqlite:///{tmp_path}")
    assert line == (
        f"error: --tracking-uri (MLFLOW_TRACKING_URI): got {tmp_path}: no file that can be written, allowed sqlite:///FILE"
    )
    assert "/proc/x: No such" in failed("--home", tmp_path / "home", "--tracking-uri", "sqlite:////proc/x/y.sqlite")


@pytest.mark.parametrize("workers", ["0", "-1", "5000"])
def test_more_workers_than_the_machine_could_feed_are_refused(workers: str, failed, tmp_path: Path) -> None:
    line = failed("--home", tmp_path / "home", "--workers", workers)
    assert line.startswith(f"error: --workers: got {workers}, allowed 1 to ")
    assert "process of its own" in line
    assert not (tmp_path / "home").exists()


def test_asking_a_home_that_is_not_there_makes_none(tmp_path: Path, monkeypatch, capsys) -> None:
    for arguments, status in ((["list"], 0), (["show", "abc"], 1), (["report", "abc"], 1), (["sync"], 1)):
        monkeypatch.setattr(sys, "argv", ["warmup-bench", *arguments, "--home", str(tmp_path / "home")])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == status, capsys.readouterr().err
        assert not (tmp_path / "home").exists()

"""A place that cannot be used: exit 1, said with what to do, and nothing durable lost."""

import sys
from pathlib import Path

import pytest

from service.cli.main import main
from tests.e2e.commands import as_file
from tests.e2e.specs import digits


@pytest.fixture
def failed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """`run` a good study with these flags; the one error line."""

    def run(*flags: object, status: int = 1) -> str:
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
    assert "name a folder that can be written" in failed(
        "--home", tmp_path / "home", "--out", tmp_path / "file" / "out"
    )


def test_a_tracking_address_that_is_none(failed, tmp_path: Path) -> None:
    assert "sqlite:///FILE" in failed("--home", tmp_path / "home", "--tracking-uri", "nowhere")


def test_asking_a_home_that_is_not_there_makes_none(tmp_path: Path, monkeypatch, capsys) -> None:
    for arguments, status in ((["list"], 0), (["show", "abc"], 1), (["report", "abc"], 1), (["sync"], 1)):
        monkeypatch.setattr(sys, "argv", ["warmup-bench", *arguments, "--home", str(tmp_path / "home")])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == status, capsys.readouterr().err
        assert not (tmp_path / "home").exists()

"""A study that is refused: exit 2, a line per problem with field, got, allowed, and nothing written."""

import sys
from pathlib import Path

import pytest

from service.cli.main import main
from tests.e2e.commands import as_file
from tests.e2e.specs import digits

Outcome = tuple[int, list[str]]


def run_main(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """Exit status and lines on stderr; stdout must be empty."""
    monkeypatch.setattr(sys, "argv", ["warmup-bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert said.out == ""
    return int(ended.value.code or 0), said.err.splitlines()


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Run a file (or text, or document); returns the error lines and checks that nothing was written."""

    def run(study: object, command: str = "run") -> list[str]:
        folder = tmp_path / "work"
        folder.mkdir()
        monkeypatch.chdir(folder)
        file = tmp_path / "study.yaml"
        if isinstance(study, dict):
            as_file(study, file)
        else:
            file.write_bytes(study if isinstance(study, bytes) else str(study).encode())
        status, lines = run_main([command, str(file), "--home", str(tmp_path / "home")], capsys, monkeypatch)
        assert status == 2
        assert lines[0].startswith("warmup-bench: here, home ")
        assert lines[1:]
        assert all(line.startswith("error: ") for line in lines[1:])
        assert not (tmp_path / "home").exists()
        assert not list(folder.iterdir())
        return lines[1:]

    return run


def _with(change) -> dict[str, object]:
    document = digits(60)
    change(document)
    return document


def _schedule(document, **fields) -> None:
    document["schedules"][1]["warmup"].update(fields)


WRONG = {
    "unknown field": (lambda d: d.update(learning_rate=1), ["learning_rate"]),
    "wrong kind": (lambda d: d["optimizers"][0].update(kind="sdg"), ["optimizers", "sdg", "sgd"]),
    "warmup longer than the run": (lambda d: _schedule(d, steps=61), ["61", "60"]),
    "empty axis": (lambda d: d.update(schedules=[]), ["schedules"]),
    "duplicate name": (lambda d: d["schedules"][1].update(name="none"), ["schedules", "none"]),
    "unknown baseline": (lambda d: d["analysis"].update(baseline="nobody"), ["analysis.baseline", "nobody", "none"]),
    "non-finite rate": (lambda d: d["optimizers"][0]["peak_lrs"].update(values=[float("inf")]), ["peak_lrs"]),
    "negative rate": (lambda d: d["optimizers"][0]["peak_lrs"].update(values=[-0.1]), ["peak_lrs", "-0.1"]),
    "too many trials": (lambda d: d["seeds"].update(count=700_000), ["trials: got 5600000", "at most 1000000"]),
    "a field that is not built yet": (
        lambda d: d["optimizers"][0].update(peak_lrs={"search": {"kind": "stability_edge"}}),
        ["peak_lrs.search", "not yet"],
    ),
}


@pytest.mark.parametrize("problem", WRONG)
def test_a_wrong_study_is_refused_by_field(problem: str, refused) -> None:
    change, said = WRONG[problem]
    lines = refused(_with(change))
    for words in said:
        assert any(words in line for line in lines), lines
    assert all(": got " in line and ", allowed " in line for line in lines), lines


def test_all_problems_are_said_at_once(refused) -> None:
    lines = refused(_with(lambda d: (d.update(first=1), d["optimizers"][0].update(kind="sdg"))))
    assert len(lines) >= 2


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    "text",
    [
        "{not: yaml",
        "- just\n- a list\n",
        "",
        "name: a\nname: b\n",
        "a: 1\n---\nb: 2\n",
        BOMB,
        b"\xff\xfe\x00",
        "a" * 1_100_000,
    ],
    ids=["no YAML", "a list", "empty", "duplicate keys", "two documents", "YAML bomb", "no text", "too large"],
)
def test_what_is_no_study_document_is_refused(text: str | bytes, refused) -> None:
    assert len(refused(text)) >= 1


def test_plan_refuses_the_same(refused) -> None:
    assert refused(_with(lambda d: _schedule(d, steps=61)), "plan")


def test_a_device_that_is_not_here_is_refused(refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.requests.cards", list)
    (line,) = refused(_with(lambda d: d.update(execution={"device": "cuda"})))
    assert line.startswith("error: execution.device: got cuda, allowed cpu or auto")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path, capsys, monkeypatch) -> None:
    status, lines = run_main(
        ["run", str(tmp_path / "quikstart"), "--home", str(tmp_path / "home")], capsys, monkeypatch
    )
    assert status == 2
    assert "quickstart" in lines[1]
    assert not (tmp_path / "home").exists()


def test_a_missing_data_set_is_refused_with_what_to_do(refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.data.digits.packaged_csv", lambda: None)
    (line,) = refused(digits(60))
    assert "digits: scikit-learn is not installed here (python -m pip install scikit-learn)" in line


def _shakespeare(document) -> None:
    document["workloads"][0].update(
        task="language_model", model={"kind": "gpt"}, dataset={"kind": "tinyshakespeare"}, batch_size=8
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "tinyshakespeare: there is no tinyshakespeare/input.txt in "),
        (b"To be, or not", "is damaged or another text: sha256 got "),
    ],
    ids=["missing", "other bytes"],
)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_text_that_is_missing_or_damaged_is_refused_with_the_command_that_gets_it(
    refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, said: str, command: str
) -> None:
    data = tmp_path / "data" / "tinyshakespeare"
    data.mkdir(parents=True)
    if content is not None:
        (data / "input.txt").write_bytes(content)
    monkeypatch.setenv("WARMUP_BENCH_DATA", str(data.parent))
    (line,) = refused(_with(_shakespeare), command)
    assert said in line
    option = "" if content is None else " --replace"  # without it what lies there is left as it is
    assert f"`warmup-bench data fetch tinyshakespeare{option}` gets it" in line

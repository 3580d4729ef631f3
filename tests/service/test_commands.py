"""What the commands print that run nothing: version, help, lists, the schema; JSON that is nothing else."""

import json
import sys

import pytest
from jsonschema import Draft202012Validator

from schemas.presets import preset_names, preset_text
from service.cli.main import COMMANDS, MAX_PROBLEMS, main
from service.spec_files import parse_document
from tests.e2e.commands import as_file
from tests.e2e.specs import digits
from tests.ledger.making import new_study
from workers.ledger.ledger import Ledger


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Exit status, stdout and stderr of a command."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["warmup-bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def home(tmp_path):
    with Ledger.open(tmp_path / "home") as ledger:
        new_study(ledger, name="one name")
        new_study(ledger, name="two", number=3)
    return tmp_path / "home"


def test_the_version_is_that_of_the_package(said) -> None:
    assert said("--version") == (0, "warmup-bench 0.1.0\n", "")


@pytest.mark.parametrize("command", ["", *COMMANDS, "data", "data list"])
def test_every_command_explains_itself_at_h(said, command) -> None:
    status, out, _ = said(*command.split(), "-h")
    assert (status, out) == said(*command.split(), "--help")[:2]
    assert status == 0
    assert out.startswith("Usage: warmup-bench")


def test_a_list_has_a_heading_above_its_columns(said, home) -> None:
    head, *rows = said("list", "--home", home)[1].splitlines()
    assert head.split() == ["study", "state", "done", "created", "name"]
    assert [row[head.index("name") :] for row in rows] == ["two", "one name"]
    assert [row[head.index("state") :].split()[0] for row in rows] == ["queued", "queued"]


def test_a_study_is_shown_by_its_name(said, home) -> None:
    status, out, _ = said("show", "one name", "--home", home)
    assert (status, out.split("  ")[1:3]) == (0, ["one name", "queued"])
    status, _, err = said("show", "three", "--home", home)
    assert status == 1
    assert "error: no study 'three' in " in err


def test_the_schema_takes_the_studies_that_ship_and_refuses_another(said) -> None:
    status, out, _ = said("schema")
    schema = json.loads(out)
    assert status == 0
    document = parse_document(preset_text("quickstart"))
    validator = Draft202012Validator(schema)
    assert validator.is_valid(document)
    assert not validator.is_valid(document | {"optimizer": 1})
    assert said("schema", "--json")[1] == out


def test_every_kind_is_listed_under_its_family(said) -> None:
    kinds = json.loads(said("schema", "--kinds", "--json")[1])
    assert kinds["optimizer"][:3] == ["sgd", "adam", "adamw"]
    lines = said("schema", "--kinds")[1].splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list(kinds)
    assert max(map(len, lines)) <= 80
    assert " ".join(lines).count("flat_then_exponential") == 1
    assert any(line.startswith("optimizer  sgd, adam, adamw, ") for line in lines)


def test_every_preset_is_listed_with_what_it_is_for(said) -> None:
    lines = said("presets")[1].splitlines()
    assert max(map(len, lines)) <= 80
    heads = [line for line in lines if not line.startswith(" ")]
    assert {line.split()[0]: len(line.split()) > 3 for line in heads} == dict.fromkeys(preset_names(), True)


def test_json_is_all_that_stands_on_stdout(said, home, tmp_path) -> None:
    file = as_file(digits(60), tmp_path / "study.yaml")
    at_home = ("--home", home)
    commands = [
        ("list", *at_home), ("show", "two", *at_home), ("plan", file, *at_home), ("data", "list", *at_home),
        ("data", "publish", *at_home), ("presets",), ("presets", "quickstart"), ("schema",), ("schema", "--kinds"),
    ]  # fmt: skip
    for command in commands:
        status, out, _ = said(*command, "--json")
        assert status == 0
        json.loads(out)


def test_a_tracker_that_is_not_to_be_used_is_not_asked_for_its_driver(said, home, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere")
    assert said("list", "--home", home)[0] == 0
    assert said("sync", "--home", home)[0] == 2


def test_of_very_many_problems_the_first_are_printed_and_the_rest_counted(said, tmp_path) -> None:
    file = as_file(digits(60) | {"seeds": ["x"] * (MAX_PROBLEMS + 5)}, tmp_path / "study.yaml")
    status, _, err = said("plan", file, "--home", tmp_path / "home")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 2
    assert len(errors) == MAX_PROBLEMS + 1
    assert errors[-1] == "error: and 5 more"

"""`warmup-bench data`: what is said, and the exit status."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from schemas.catalog import DatasetFacts, dataset_facts
from schemas.errors import DataMissing
from schemas.workloads import Classification
from service.cli import main as main_module
from tests.data import lying_server as server
from tests.data.lying_server import Home, serving
from tests.data.making import made_up, sources_at
from workers.data import fetching


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    with serving() as running:
        running.files = made_up(np.random.default_rng(1))
        monkeypatch.setattr(fetching, "SOURCES", sources_at(running))
        yield running


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*words: str) -> tuple[int, str, str]:
        places = ["--home", str(tmp_path / "home"), "--data", str(tmp_path / "data")]
        monkeypatch.setattr("sys.argv", ["warmup-bench", "data", *words, *places])
        with pytest.raises(SystemExit) as ended:
            main_module.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def test_a_set_is_fetched_once_and_listed(command, home: Home, tmp_path: Path) -> None:
    status, out, err = command("fetch", "tinyshakespeare")
    assert status == 0
    assert out.split()[0] == "tinyshakespeare"
    assert str(tmp_path / "data" / "tinyshakespeare") in out
    size = len(home.files["input.txt"])
    assert f"input.txt: {size} B of {size} B" in err.splitlines()  # a plain line: there is no terminal
    assert command("fetch", "tinyshakespeare")[2].splitlines()[1] == "tinyshakespeare is here already; nothing was done"
    rows = {row["name"]: row for row in json.loads(command("list", "--json")[1])}
    assert rows["tinyshakespeare"]["state"] == "present"
    assert rows["cifar10"]["state"] == "missing"
    assert rows["cifar10"]["get"] == "warmup-bench data fetch cifar10"


def test_a_set_is_imported(command, home: Home, tmp_path: Path) -> None:
    (tmp_path / "play.txt").write_bytes(home.files["input.txt"])
    status, out, _ = command("import", "tinyshakespeare", str(tmp_path / "play.txt"), "--json")
    assert (status, json.loads(out)["state"]) == (0, "present")


def test_the_list_shows_what_is_damaged_and_how_to_mend_it(command, tmp_path: Path) -> None:
    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    (tmp_path / "data" / "cifar10" / "train.npz").write_bytes(b"half")
    lines = command("list")[1].splitlines()
    (row,) = [line for line in lines if line.startswith("cifar10")]
    assert row.split()[:3] == ["cifar10", "damaged", "4"]
    assert row.endswith("warmup-bench data fetch cifar10 --replace")
    assert "  cifar10 is damaged: test.npz missing" in lines


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (
            ("fetch", "imagenet"),
            2,
            "error: NAME: got 'imagenet', allowed cifar10, fashion_mnist, fsdd, tinyshakespeare",
        ),
        (("import", "cifar10", "nowhere"), 2, "error: PATH: got "),
        (("fetch", "tinyshakespeare"), 1, "error: http"),
    ],
)
def test_what_goes_wrong_is_one_line(command, home: Home, words: tuple[str, ...], status: int, said: str) -> None:
    home.plays["input.txt"] = [server.answers(404)]
    ended, out, err = command(*words)
    assert (ended, out) == (status, "")
    assert [line.startswith(said) for line in err.splitlines()[1:]] == [True]


def test_ctrl_c_says_that_the_same_command_goes_on(command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(fetching, "fetch", interrupted)
    status, _, err = command("fetch", "cifar10")
    assert status == 130
    assert "the same command goes on" in err


def test_a_missing_set_names_the_command_that_gets_it() -> None:
    workload = Classification.model_construct(dataset=type("Set", (), {"kind": "cifar10"})())
    facts: dict[str, DatasetFacts] = {}
    with pytest.raises(DataMissing, match="cifar10 is not in the catalog: `warmup-bench data fetch cifar10` gets it"):
        dataset_facts(workload, facts)

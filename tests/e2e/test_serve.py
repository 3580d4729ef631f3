"""`warmup-bench serve` with a real driver on a real Ray: from `submit --follow` to verdict, report, records and events.

By the key that the service left in its home. What happens when it is killed and restarted: test_serve_restarts.py.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.e2e.serve_story import TABLES, Submitted
from tests.e2e.serve_story import submitted as told
from tests.e2e.serving import processes_of_home

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Submitted]:
    with told(tmp_path_factory.mktemp("serve") / "mein höme") as submitted:
        yield submitted


def test_the_process_of_the_api_has_neither_torch_nor_ray(submitted: Submitted) -> None:
    assert "libssl" in submitted.libraries or "_sqlite3" in submitted.libraries
    assert "torch" not in submitted.libraries
    assert "_raylet" not in submitted.libraries


def test_the_key_of_the_home_is_for_its_owner_alone(submitted: Submitted) -> None:
    assert submitted.key_mode == 0o600


def test_nothing_is_left_after_ctrl_c(submitted: Submitted) -> None:
    assert submitted.stopped == 0
    assert processes_of_home(submitted.home) == {}
    assert list((submitted.home / "ray").iterdir()) == []


def test_the_command_that_submitted_ends_with_the_verdict(submitted: Submitted) -> None:
    answer = json.loads(submitted.followed.out)
    assert (submitted.followed.status, answer["state"], answer["counts"]["done"]) == (0, "done", 8)
    assert answer["verdict"] == (submitted.folder / "verdict.txt").read_text(encoding="utf-8")
    assert answer["ranking"]


def test_it_has_shown_how_far_the_study_was(submitted: Submitted) -> None:
    lines = submitted.followed.err.splitlines()
    assert lines[0].startswith("warmup-bench: server http://127.0.0.1:")
    # What comes behind it is said while the report is fetched, which the server may still be writing.
    shown = [line for line in lines if not line.startswith("waiting for its report")]
    assert shown[-1].startswith("8/8 trials done")
    # Which of its stages are seen depends on how often a busy machine lets the command look.
    assert any("starting Ray" in line or "running" in line for line in shown[:-1])


def test_the_report_that_is_fetched_is_the_one_that_was_written(submitted: Submitted) -> None:
    assert submitted.reported.status == 0
    out = Path(submitted.reported.out.splitlines()[-1].removeprefix("report ")).parent
    for name in ("report.html", "report.json", "verdict.txt"):
        assert (out / name).read_bytes() == (submitted.folder / name).read_bytes()


@pytest.mark.parametrize("table", TABLES)
def test_records_over_the_wire_are_those_of_the_result_folder(submitted: Submitted, table: str) -> None:
    whole = pq.read_table(submitted.folder / f"{table}.parquet")
    assert len(submitted.trials) == 8
    for trial in submitted.trials:
        expected = whole.filter(pc.equal(whole["trial_id"], trial.id)).to_pydict()
        assert repr(submitted.tables[trial.id, table]) == repr(expected)
        assert repr(submitted.columns[trial.id, table]) == repr(expected)


def test_a_diverged_trial_has_its_last_numbers(submitted: Submitted) -> None:
    (lost, *_) = [trial for trial in submitted.trials if trial.outcome == "diverged"]
    assert lost.peak_lr == 1e6
    assert lost.summary is not None
    assert isinstance((lost.summary.final or {})["train_loss"], float)
    assert submitted.some["step"][:2] == [2, 4][: len(submitted.some["step"])]


def test_its_events_are_told_from_the_first_to_the_last(submitted: Submitted) -> None:
    assert submitted.kinds[0] == "study_created"
    assert submitted.kinds.count("trial_done") == 8
    assert "study_done" in submitted.kinds

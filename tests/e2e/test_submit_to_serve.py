"""From `submit --follow` to verdict and records, at a real `serve` of the same home, by the key that it left."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from service.client import Client
from tests.e2e.commands import Ended, as_file, command
from tests.e2e.serving import ended_at_last, serve
from tests.e2e.specs import digits

pytestmark = pytest.mark.slow

STEPS = 40


@dataclass
class Story:
    """One study, submitted, followed, and looked at."""

    study_id: str
    followed: Ended
    reported: Ended
    folder: Path
    client: Client


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    place = tmp_path_factory.mktemp("submitted")
    document = digits(STEPS, num_seeds=1)
    # So large that it diverges: what is not finite has to come through.
    document["optimizers"][0]["peak_lrs"] = {"values": [0.1, 1e6]}
    file = as_file(document, place / "study.yaml")
    with ended_at_last(place / "home") as home, serve(home, "--workers", "1") as served:
        where = ("--server", served.url, "--home", home)
        followed = command("submit", file, "--follow", "--json", *where, cwd=place)
        study_id = json.loads(followed.out)["id"]
        reported = command("report", study_id[:8], "--out", place / "out", *where, cwd=place)
        key = (home / "serve.key").read_text(encoding="utf-8")
        with Client(served.url, key) as client:
            yield Story(study_id, followed, reported, home / "studies" / study_id, client)


def test_the_command_that_submitted_ends_with_the_verdict(story: Story) -> None:
    answer = json.loads(story.followed.out)
    assert (story.followed.status, answer["state"], answer["counts"]["done"]) == (0, "done", 8)
    assert answer["verdict"] == (story.folder / "verdict.txt").read_text(encoding="utf-8")
    assert answer["ranking"]


def test_it_has_shown_how_far_the_study_was(story: Story) -> None:
    lines = story.followed.err.splitlines()
    assert lines[0].startswith("warmup-bench: server http://127.0.0.1:")
    assert any("running" in line for line in lines)
    assert lines[-1].startswith("8/8 trials done")


def test_the_report_that_is_fetched_is_the_one_that_was_written(story: Story) -> None:
    assert story.reported.status == 0
    out = Path(story.reported.out.splitlines()[-1].removeprefix("report ")).parent
    for name in ("report.html", "report.json", "verdict.txt"):
        assert (out / name).read_bytes() == (story.folder / name).read_bytes()


@pytest.mark.parametrize("table", ["steps", "evaluations", "probes"])
def test_records_over_the_wire_are_those_of_the_result_folder(story: Story, table: str) -> None:
    whole = pq.read_table(story.folder / f"{table}.parquet")
    for trial in story.client.trials(story.study_id):
        there = story.client.records_table(trial.id, table)
        expected = whole.filter(pc.equal(whole["trial_id"], trial.id)).to_pydict()
        assert repr(there.to_pydict()) == repr(expected)
        assert repr(story.client.records(trial.id, table)) == repr(expected)


def test_a_diverged_trial_has_its_last_numbers(story: Story) -> None:
    (lost, *_) = [trial for trial in story.client.trials(story.study_id) if trial.outcome == "diverged"]
    assert lost.peak_lr == 1e6
    assert lost.summary is not None
    assert isinstance((lost.summary.final or {})["train_loss"], float)
    some = story.client.records(lost.id, columns=["step", "train_loss"], first_step=1, every=2)
    assert some["step"][:2] == [2, 4][: len(some["step"])]


def test_its_events_are_told_from_the_first_to_the_last(story: Story) -> None:
    kinds = [event.kind for event in story.client.events(story.study_id)]
    assert kinds[0] == "study_created"
    assert kinds.count("trial_done") == 8
    assert "study_done" in kinds

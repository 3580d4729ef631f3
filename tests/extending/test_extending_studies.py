"""A wider spec adds a round to its study, whatever state that is in; one that is not wider is refused by field."""

import threading
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from schemas.errors import DataMissing, QuotaExceeded, SpecError, WrongState
from schemas.study import parse_study
from schemas.trials import TrialState
from tests.ledger.making import at_once, drive, finish, packs_of
from tests.service.serving import DIGITS_FACTS, study
from workers.extending import ExtendResult, extend_study
from workers.ledger.inputs import Idempotency, Quota
from workers.ledger.ledger import Ledger
from workers.planning import expand_trials
from workers.studies import create_study, published_datasets


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(tmp_path) as opened:
        opened.publish_dataset("digits", DIGITS_FACTS["sha256"], DIGITS_FACTS)
        yield opened


def create(ledger: Ledger, document: Any = None) -> str:
    wanted = parse_study(document or study())
    return create_study(ledger, wanted, expand_trials(wanted, published_datasets(ledger))).id


def extend(ledger: Ledger, study_id: str, document: Any, **more: Any) -> ExtendResult:
    wanted = parse_study(document)
    return extend_study(ledger, study_id, wanted, expand_trials(wanted, published_datasets(ledger)), **more)


def play(ledger: Ledger, study_id: str, round_number: int = 0, *, num_packs: int | None = None) -> int:
    """Drive a round to its end, or its first packs alone; returns the fence."""
    fence = drive(ledger, study_id)
    waiting = [trial for trial in ledger.trials(study_id) if trial.round == round_number]
    packs = packs_of(study_id, waiting, tag=f"r{round_number}-")
    ledger.write_plan(study_id, round_number, packs, fence, "cpu")
    ledger.set_study_state(study_id, TrialState.RUNNING, fence=fence)
    finish(ledger, study_id, fence, [pack.pack_id for pack in packs[:num_packs]])
    if num_packs is None:
        ledger.set_study_state(study_id, TrialState.DONE, fence=fence)
        ledger.release_lease(study_id, "run", "driver", fence)
    return fence


def without_times(rows: Any) -> list[Any]:
    return [(row.trial_id, row.num_index, row.round, row.state, row.pack_id, row.slot, row.attempt) for row in rows]


def test_two_more_seeds_are_a_round_of_their_own_behind_the_old_trials(ledger):
    study_id = create(ledger)
    play(ledger, study_id)
    before = without_times(ledger.trials(study_id))
    found = extend(ledger, study_id, study(4))
    assert (found.round, found.num_new, found.row.total, found.row.state) == (1, 8, 16, TrialState.QUEUED)
    after = list(ledger.trials(study_id))
    assert without_times(after[:8]) == before
    assert [trial.num_index for trial in after] == list(range(16))
    assert {(trial.round, trial.steps, trial.state) for trial in after[8:]} == {(1, 20, TrialState.QUEUED)}
    assert {trial.seed["noise"] for trial in after[8:]} == {2, 3}
    assert found.row.spec == dict(parse_study(study(4)).resolved)
    assert ledger.study_by_spec_hash(parse_study(study(4)).spec_hash).id == study_id
    assert ledger.rounds(study_id)[1].body == {"spec": found.row.spec}


@pytest.mark.parametrize("axis", ["workloads", "optimizers", "schedules", "peak_lrs"])
def test_every_axis_may_grow(ledger, axis: str):
    study_id, wider = create(ledger), study()
    if axis == "peak_lrs":
        wider["optimizers"][0]["peak_lrs"]["values"].insert(0, 0.001)
    else:
        new = deepcopy(wider[axis][-1]) | {"name": "another"}
        change = {"workloads": {"batch_size": 7}, "optimizers": {"momentum": 0.5}, "schedules": {}}[axis]
        wider[axis].insert(0, new | change)
        if axis == "schedules":
            wider[axis][0]["warmup"] = {"kind": "linear", "steps": 9}
    found = extend(ledger, study_id, wider)
    assert found.num_new == (8 if axis in ("workloads", "optimizers") else 4)


def test_a_sweep_may_get_more_values(ledger):
    document = study()
    document["schedules"][1]["warmup"]["steps"] = {"sweep": [5, 6]}
    study_id, wider = create(ledger, document), deepcopy(document)
    wider["schedules"][1]["warmup"]["steps"] = {"sweep": [4, 5, 6]}
    assert extend(ledger, study_id, wider).num_new == 4


def test_what_changes_no_number_may_change_with_new_trials(ledger):
    study_id, wider = create(ledger), study(3)
    wider |= {"description": "more seeds", "analysis": {"baseline": "linear", "metric": "train_loss"}}
    assert extend(ledger, study_id, wider).row.spec["analysis"]["baseline"] == "linear"


def test_nothing_new_is_no_round_and_leaves_a_done_study_as_it_is(ledger):
    study_id = create(ledger)
    play(ledger, study_id)
    before = ledger.study(study_id)
    found = extend(ledger, study_id, study() | {"description": "said otherwise"})
    assert (found.row, found.round, found.num_new) == (before, None, 0)


def test_extending_twice_is_extending_once_and_three_times_grows_on(ledger):
    study_id = create(ledger)
    play(ledger, study_id)
    assert [extend(ledger, study_id, study(3)).num_new for _ in range(2)] == [4, 0]
    play(ledger, study_id, 1)
    assert extend(ledger, study_id, study(5)).round == 2
    play(ledger, study_id, 2)
    assert ledger.study(study_id).counts["done"] == 20


def test_what_a_cancelled_study_lacks_goes_on_whether_or_not_trials_are_new(ledger):
    for wider, number, waiting in ((study(), 0, 6), (study(3), 4, 10)):
        study_id = create(ledger, study(name=f"{number}"))
        fence = play(ledger, study_id, num_packs=1)
        ledger.set_study_state(study_id, TrialState.CANCELLED, fence=fence)
        found = extend(ledger, study_id, wider | {"name": f"{number}"})
        assert (found.num_new, found.row.state, found.row.counts["queued"]) == (number, TrialState.QUEUED, waiting)
        assert found.row.counts["done"] == 2


def test_a_study_that_waits_is_widened_and_stays_where_it_is_in_the_queue(ledger):
    study_id = create(ledger)
    found = extend(ledger, study_id, study(4))
    assert (found.row.state, found.row.total, found.row.continuations) == (TrialState.QUEUED, 16, 0)


def test_a_study_that_runs_is_refused_new_trials_and_answered_where_nothing_is_new(ledger):
    study_id = create(ledger)
    play(ledger, study_id, num_packs=1)
    before = ledger.study(study_id)
    with pytest.raises(WrongState, match="is running and cannot be extended now; wait until it is done, or cancel it"):
        extend(ledger, study_id, study(4))
    assert extend(ledger, study_id, study()).num_new == 0
    assert ledger.study(study_id) == before


def test_of_many_who_extend_at_once_alike_one_adds_a_round_and_the_others_hear_so(ledger, tmp_path):
    study_id, found, together = create(ledger), [], threading.Barrier(4)
    play(ledger, study_id)

    def one() -> None:
        with Ledger.open(tmp_path) as mine:
            together.wait()
            found.append(extend(mine, study_id, study(4)).num_new)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 0, 0, 8]
    assert (ledger.study(study_id).total, len(ledger.rounds(study_id))) == (16, 2)


def test_who_was_slower_with_a_spec_that_lacks_what_the_faster_added_is_told_what(ledger, monkeypatch):
    study_id = create(ledger)
    slow = Ledger.extend_study

    def overtaken(self: Ledger, *arguments: Any, **more: Any) -> Any:
        monkeypatch.setattr(Ledger, "extend_study", slow)
        extend(ledger, study_id, study(4))
        return slow(self, *arguments, **more)

    monkeypatch.setattr(Ledger, "extend_study", overtaken)
    with pytest.raises(SpecError, match="seeds: got 0, 1, 2, allowed also 3: an extension holds every trial"):
        extend(ledger, study_id, study(3))


def changed(change: Callable[[Any], object]) -> Any:
    document = study(3)
    change(document)
    return document


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (study(1), "seeds: got 0, allowed also 1: an extension holds every trial of the study"),
        (study(3, rates=(0.1,)), "peak_lrs: got 0.1, allowed also 0.01: an extension holds every trial of the study"),
        (
            changed(lambda d: d["schedules"].pop()),
            "schedules: got 'none', allowed also 'linear': an extension holds every trial of the study",
        ),
        (
            changed(lambda d: d["optimizers"][0].update(name="other")),
            "optimizers: got 'other', allowed 'sgd', as the study calls it: further values go into an item with another"
            " name",
        ),
        (
            changed(lambda d: d["schedules"][1]["warmup"].update(steps={"sweep": [5, 9]})),
            "schedules: got 'linear warmup.steps=5', allowed 'linear', as the study calls it: further values go into an"
            " item with another name",
        ),
        (study(3, steps=21), "workloads[0].budget.steps: got 21, allowed 20, as the study has it"),
        (study(3, name="other"), "name: got 'other', allowed 'small': an extension is the same study"),
        (
            changed(lambda d: d.update(probes=[{"kind": "sharpness", "every_steps": 5}])),
            "probes[0]: got 'sharpness', allowed the probes of the study: its trials have not been measured so",
        ),
        (
            changed(lambda d: d["workloads"][0].update(evaluation={"every_steps": 3})),
            "workloads[0].evaluation.every_steps: got 3, allowed",
        ),
        (
            changed(lambda d: d.update(link=[["peak_lrs", "schedules"]])),
            "link: got [['peak_lrs', 'schedules']], allowed [], as the study has it",
        ),
    ],
    ids=lambda value: value.partition(":")[0] if isinstance(value, str) else "",
)
def test_a_spec_that_is_not_wider_is_refused_by_field_and_changes_nothing(ledger, document: Any, said: str):
    study_id = create(ledger)
    before = ledger.study(study_id)
    with pytest.raises(SpecError) as refused:
        extend(ledger, study_id, document)
    assert [str(problem)[: len(said)] for problem in refused.value.problems] == [said]
    assert ledger.study(study_id) == before


def test_data_that_has_changed_is_told_with_the_first_trial_that_it_takes_away(ledger):
    study_id = create(ledger)
    ledger.publish_dataset("digits", "e" * 64, DIGITS_FACTS | {"sha256": "e" * 64})
    with pytest.raises(SpecError) as refused:
        extend(ledger, study_id, study(3))
    (problem,) = refused.value.problems
    assert problem.got.startswith("8 trials whose data, or whose program, has changed")
    assert "digits-mlp sgd none lr=0.01 seed=0 and others" in problem.got


def test_a_study_planned_on_the_cpu_is_not_extended_for_a_gpu(ledger):
    study_id = create(ledger)
    play(ledger, study_id)
    with pytest.raises(SpecError, match=r"execution.device: got cuda, allowed auto: .* trained on cpu"):
        extend(ledger, study_id, study(3) | {"execution": {"device": "cuda"}})
    assert extend(ledger, study_id, study(3) | {"execution": {"device": "cpu"}}).num_new == 4


def test_the_quota_counts_what_is_added_alone(ledger):
    study_id = create(ledger)
    play(ledger, study_id)
    with pytest.raises(QuotaExceeded, match=r"trials_unfinished: got 0 [+] 8, allowed 7"):
        extend(ledger, study_id, study(4), quota=Quota(trials_unfinished=7))
    assert extend(ledger, study_id, study(4), quota=Quota(trials_unfinished=8)).num_new == 8


@pytest.mark.parametrize("seeds", [2, 4])
def test_of_many_at_once_with_one_key_one_extends_and_all_are_answered_alike(ledger, seeds):
    study_id = create(ledger)
    asked = ("team", Idempotency("key", "a" * 64))
    answers = at_once(6, lambda i: extend(ledger, study_id, study(seeds), asked=asked))
    assert len({(answer.round, answer.num_new, answer.row.version) for answer in answers}) == 1
    assert sum(not answer.is_replayed for answer in answers) == 1
    assert len(ledger.rounds(study_id)) == (2 if seeds == 4 else 1)


def test_a_data_set_that_is_not_in_the_catalog_is_missing(tmp_path):
    with Ledger.open(tmp_path / "other") as ledger, pytest.raises(DataMissing):
        extend(ledger, "0" * 16, study())

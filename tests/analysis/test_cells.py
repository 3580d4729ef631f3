"""No trial is dropped, seeds are clusters, swept values join or part contenders."""

import math

import numpy as np
import pytest

from workers.analysis.cells import make_cells
from workers.analysis.question import read_question
from workers.analysis.ranking import make_groups
from workers.analysis.reading import ResultFolder
from workers.analysis.scores import score_trials
from workers.analysis.usable import mark_usable


@pytest.fixture
def analyse_rows(write_trials, small_spec):
    """rows -> (cells, groups), with changes to the spec's analysis."""

    def analyse(rows, **analysis):
        question = read_question({**small_spec, "analysis": {**small_spec["analysis"], **analysis}})
        table = make_cells(score_trials(ResultFolder(write_trials(rows)).trials(), question))
        table.cells[["usable", "covered"]] = mark_usable(table, question)
        return table.cells, make_groups(table, question)

    return analyse


def test_a_diverged_trial_counts_as_the_worse_of_start_and_reference(analyse_rows, make_row):
    rows = [
        make_row("warm", 0.1, 0, 0.2),
        make_row("warm", 0.1, 1, None, outcome="diverged", start_loss=3.0, reference_loss=2.3),
        make_row("warm", 0.1, 2, 9.0, outcome="stalled", start_loss=2.0, reference_loss=2.3),
    ]
    cells, _ = analyse_rows(rows)
    cell = cells.iloc[0]
    assert cell["mean"] == pytest.approx((0.2 + 3.0 + 2.3) / 3)
    assert (cell["n"], cell["trained"], cell["diverged"], cell["stalled"], cell["num_trials"]) == (3, 1, 1, 1, 3)


def test_a_diverged_trial_counts_as_chance_in_an_accuracy(analyse_rows, make_row):
    rows = [
        make_row("warm", 0.1, 0, final_validation_accuracy=0.9),
        make_row("warm", 0.1, 1, outcome="diverged", reference_loss=math.log(10)),
        make_row("warm", 0.1, 2, outcome="diverged", reference_loss=None),
    ]
    cells, _ = analyse_rows(rows, metric="validation_accuracy")
    assert cells.iloc[0]["mean"] == pytest.approx((0.9 + 0.1 + 0.0) / 3)


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_chance_is_one_in_as_many_classes_under_mse_too(write_trials, small_spec, make_row, classes):
    # as many balanced classes have this best constant answer: one-hot targets of variance (1 - 1/C)/C each
    targets = np.eye(classes)
    reference = 0.5 * float(((targets - targets.mean(0)) ** 2).mean())
    [workload] = small_spec["workloads"]
    analysis = {**small_spec["analysis"], "metric": "validation_accuracy"}
    question = read_question({**small_spec, "workloads": [{**workload, "loss": {"kind": "mse"}}], "analysis": analysis})
    rows = [make_row("warm", 0.1, seed, outcome="diverged", reference_loss=reference) for seed in range(2)]
    scored = score_trials(ResultFolder(write_trials(rows)).trials(), question)
    assert scored["score"].tolist() == pytest.approx([1 / classes] * 2)


def test_a_trained_trial_without_a_finite_metric_counts_as_useless_and_is_said(analyse_rows, make_row):
    cells, groups = analyse_rows([make_row("warm", 0.1, 0, 0.2), make_row("warm", 0.1, 1, math.inf)])
    assert cells.iloc[0]["mean"] == pytest.approx((0.2 + 2.45) / 2)
    assert groups[0].num_without_value == 1


def test_undone_and_errored_trials_are_counted_apart(analyse_rows, make_row):
    rows = [
        make_row("warm", 0.1, 0, 0.2),
        make_row("warm", 0.1, 1, state="errored", outcome=""),
        make_row("warm", 0.1, 2, state="queued", outcome="", steps_completed=None, start_loss=None),
    ]
    cells, groups = analyse_rows(rows)
    assert cells.loc[0, ["n", "done", "errored", "waiting", "num_trials"]].tolist() == [1, 1, 1, 1, 3]
    assert groups[0].contenders[0].mean == pytest.approx(0.2)


def test_rows_that_share_an_initialization_are_one_observation(analyse_rows, make_row):
    rows = [make_row("none", 0.1, seed, loss) for seed, loss in (("0-0-0", 0.1), ("0-1-0", 0.3), ("1-0-0", 0.4))]
    rows += [make_row("warm", 0.1, seed, loss) for seed, loss in (("0-0-0", 0.2), ("0-1-0", 0.2), ("1-0-0", 0.5))]
    cells, groups = analyse_rows(rows)
    assert cells["n"].tolist() == [2, 2]
    assert cells["mean"].tolist() == pytest.approx([0.3, 0.35])
    comparison = next(each.comparison for each in groups[0].contenders if each.comparison)
    assert (comparison.n, comparison.difference, comparison.sd) == pytest.approx((2, 0.05, math.sqrt(0.005)))


def test_an_untuned_sweep_of_a_schedule_makes_contenders_and_a_tuned_one_joins_them(analyse_rows, make_row):
    rows = [make_row("none", 0.1, seed, 0.3) for seed in (0, 1)]
    for steps in (20, 100, 80):
        for seed in (0, 1):
            name = f"warm warmup.steps={steps}"
            rows.append(make_row(name, 0.1, seed, 0.2 + steps / 1000, **{"schedule.warmup.steps": steps}))
    _, (group,) = analyse_rows(rows)
    assert [each.schedule for each in group.contenders] == [
        "none",
        "warm warmup.steps=20",
        "warm warmup.steps=80",
        "warm warmup.steps=100",
    ]
    _, (group,) = analyse_rows(rows, tuned=["peak_lr", "schedule.warmup.steps"])
    warm = group.contenders[1]
    assert (warm.schedule, warm.settings, warm.num_configurations) == ("warm", "warmup.steps=20", 3)


def test_a_baseline_with_variants_is_tuned_over_them(analyse_rows, make_row):
    rows = [make_row("warm", 0.1, seed, 0.3) for seed in (0, 1)]
    for start, loss in ((0.1, 0.25), (0.5, 0.35)):
        row = {"schedule.warmup.start_factor": start}
        rows += [make_row(f"none warmup.start_factor={start}", 0.1, seed, loss, **row) for seed in (0, 1)]
    _, (group,) = analyse_rows(rows)
    assert (group.baseline.schedule, group.baseline.mean, group.baseline.num_configurations) == ("none", 0.25, 2)


def test_an_untuned_sweep_of_an_optimizer_is_compared_within_each_value(analyse_rows, make_row):
    rows = [
        make_row(schedule, 0.1, seed, 0.3, optimizer=f"o weight_decay={decay}", **{"optimizer.weight_decay": decay})
        for schedule in ("none", "warm")
        for decay in (0.0, 0.1)
        for seed in (0, 1)
    ]
    _, groups = analyse_rows(rows)
    assert [group.label for group in groups] == ["w, o weight_decay=0", "w, o weight_decay=0.1"]
    _, groups = analyse_rows(rows, tuned=["peak_lr", "optimizer.weight_decay"])
    assert [(group.label, group.baseline.num_configurations) for group in groups] == [("w, o", 2)]


def test_an_unfinished_study_is_compared_over_its_complete_seeds(analyse_rows, make_row):
    # seed 2 of "none" is done at its worst rate alone: its mean over all done trials would be another one
    rows = [
        make_row(name, lr, seed, lr + seed / 100) for name in ("none", "warm") for lr in (0.1, 0.2) for seed in (0, 1)
    ]
    rows += [make_row("none", 0.2, 2, 0.9), make_row("none", 0.1, 2, state="queued", outcome="")]
    rows += [make_row("warm", lr, 2, 0.1) for lr in (0.1, 0.2)]
    _, (group,) = analyse_rows(rows)
    assert (group.complete_seeds, group.seeds) == (2, 3)
    assert [(each.n, each.mean) for each in group.contenders] == [(2, pytest.approx(0.105))] * 2

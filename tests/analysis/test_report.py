"""From a result folder to an answer: planted truths are found, in words, deterministically, half done or not."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from schemas.errors import PlaceError
from workers.analysis import analyse, ranking, ranking_table, write_report
from workers.analysis.report import report_json
from workers.science import outcome
from workers.wrapping import wrapped


@pytest.fixture(scope="module")
def report(quickstart):
    return analyse(*quickstart)


def by_schedule(report, optimizer):
    group = next(group for group in report.groups if group.optimizer == optimizer)
    return {each.schedule: each for each in group.contenders}


def test_the_planted_winner_tie_and_loser_are_found(report):
    assert by_schedule(report, "sgd")["linear-80"].comparison.verdict == "wins"
    assert by_schedule(report, "adamw")["linear-20"].comparison.verdict == "ties"
    assert by_schedule(report, "adamw")["linear-80"].comparison.verdict == "loses"


def test_the_planted_usable_edges_are_found(report):
    usable = {name: each.usable for name, each in by_schedule(report, "sgd").items()}
    found = {name: each.rate for name, each in usable.items()}
    assert found == pytest.approx({"none": 0.0948683, "linear-20": 0.3, "linear-80": 0.948683, "convex-80": 3.0})
    assert [name for name, each in usable.items() if each.at_edge] == ["convex-80"]


def test_the_verdict_says_result_interval_usable_rate_and_what_was_lost(report):
    words = " ".join(report.verdict.split())
    assert "digits-mlp-warmup: all 280 trials done" in words
    assert "linear-80 wins: " in words
    assert "95 % interval" in words
    assert "linear-80 0.949 (3: 0 of 5 seeds), two grid steps above the baseline's (10 x)" in words
    assert "15 diverged and 15 stalled, all counted as no better than a constant answer" in words
    assert all(3 <= len(sentences) <= 12 for sentences in report.verdicts.values())


def test_the_verdict_opens_with_what_to_do_in_one_sentence(report):
    opening = {label: sentences[0] for label, sentences in report.verdicts.items()}
    assert all(sentence.startswith("In short: once each is tuned") for sentence in opening.values())
    assert any("the largest usable peak LR is" in sentence for sentence in opening.values())


def test_the_verdict_fits_80_columns_and_reads_the_same_at_any_width(report):
    assert max(map(len, report.verdict.splitlines())) <= 80
    wide = wrapped(report.verdict, 200)
    assert max(map(len, wide.splitlines())) > 120
    assert wrapped(wide, 80) == report.verdict


def test_a_larger_usable_rate_is_told_in_steps_of_the_grid_and_as_a_bound_at_its_end(report):
    opening = {label: sentences[0] for label, sentences in report.verdicts.items()}
    assert "convex-80: at least 3 instead of 0.0949" in opening["digits-mlp, sgd"]
    words = " ".join(report.verdict.split())
    assert "Largest usable peak LR of the grid (a step is 3.16 x), usable in all 5 seeds: none 0.0949" in words
    assert "linear-20 0.3 (0.949: 0 of 5 seeds), one grid step above the baseline's (3.16 x)" in words
    assert "convex-80 at least 3 (the grid's end), at least three grid steps above the baseline's (31.6 x)" in words


def test_points_that_the_budget_did_not_pay_for_are_told(make_study, tmp_path):
    folder, spec = make_study(total_steps=100, probe_every=20, seeds=2).build(tmp_path)
    for probe in spec["probes"]:
        probe["every_steps"] = 10
    spec["probes"][1]["during_warmup"] = 4
    spec["probe_budget"] = 0.1
    report = analyse(folder, spec)
    words = " ".join(report.verdict.split())
    assert "- secant_smoothness: measured at 5 of 10 points asked for in a trial, probe_budget 0.1 pays for" in words
    assert "- sharpness: measured at 5 of 10 or 5 of 12 points asked for in a trial" in words
    assert {each.probe: each.thinned for each in report.probes}["sharpness"] == ((5, 10), (5, 12))


def test_nothing_is_told_of_points_where_all_were_taken(report):
    assert "points asked for" not in report.verdict


def held_out_words(write_trials, small_spec, make_row, warm, none):
    """warm, none: rate -> one loss per seed."""
    rows = [make_row("none", rate, seed, loss) for rate, by in none.items() for seed, loss in enumerate(by)]
    rows += [make_row("warm", rate, seed, loss) for rate, by in warm.items() for seed, loss in enumerate(by)]
    spec = {**small_spec, "analysis": {**small_spec["analysis"], "equivalence_margin": 0.02}}
    return " ".join(analyse(write_trials(rows), spec).verdict.split())


def test_the_check_of_the_chosen_rates_says_when_no_verdict_changes(write_trials, small_spec, make_row):
    none = {0.1: [0.20, 0.21, 0.19, 0.20], 0.3: [0.5, 0.5, 0.5, 0.5]}
    words = held_out_words(write_trials, small_spec, make_row, none, none)
    assert words.endswith("each seed was also scored at the rate that the other seeds chose: no verdict changes.")


def test_a_verdict_that_the_check_does_not_bear_out_is_named_with_its_interval(write_trials, small_spec, make_row):
    none = {0.1: [0.20, 0.21, 0.19, 0.20], 0.3: [0.9, 0.9, 0.9, 0.9]}
    # each rate of warm is bad on one seed: which is best hangs on the seeds that choose
    warm = {0.1: [0.20, 0.21, 0.19, 0.21], 0.3: [0.13, 0.14, 0.12, 0.43]}
    words = held_out_words(write_trials, small_spec, make_row, warm, none)
    assert "warm ties: 0.2025 at peak LR 0.1, difference +0.0025" in words
    assert (
        "some verdicts are not clear: warm ties above, but differs by +0.057 in the check (95 % interval -0.125"
        in words
    )


def test_every_trial_is_in_the_cells(report):
    assert sum(cell["num_trials"] for cell in report.cells) == 280
    outcomes = [(cell["trained"], cell["stalled"], cell["diverged"]) for cell in report.cells]
    assert sum(map(sum, outcomes)) == report.counts["done"] == 280


def test_the_ranking_is_best_first_with_the_difference_to_the_baseline(report):
    rows = [row for row in ranking_table(report) if row["optimizer"] == "sgd"]
    assert rows[0]["schedule"] == "linear-80"
    assert [row["mean"] for row in rows] == sorted(row["mean"] for row in rows)
    baseline = next(row for row in rows if row["verdict"] == "baseline")
    assert rows[0]["difference"] == pytest.approx(rows[0]["mean"] - baseline["mean"])
    assert rows[0]["low"] < rows[0]["difference"] < rows[0]["high"] < 0


@pytest.mark.proof
def test_the_same_folder_gives_the_same_bytes_whatever_the_order_of_its_rows(quickstart, tmp_path):
    folder, spec = quickstart
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    for table in folder.glob("*.parquet"):
        rows = pq.read_table(table)
        pq.write_table(rows.take(list(range(len(rows)))[::-1]), shuffled / table.name)
    for one, other in zip(
        write_report(analyse(folder, spec), tmp_path), write_report(analyse(shuffled, spec), shuffled), strict=True
    ):
        assert one.read_bytes() == other.read_bytes()


def test_report_json_carries_the_ranking_of_the_terminal(report):
    rows = report.to_json()["ranking"]
    assert [row["schedule"] for row in rows] == [row["schedule"] for row in ranking_table(report)]


def test_report_json_is_strict(report):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    document = json.loads(report_json(report), parse_constant=refuse)
    assert document["verdict"] == report.verdict
    baseline = document["groups"][0]["contenders"][0]
    assert baseline["comparison"] is None
    assert document["groups"][0]["contenders"][3]["usable"]["first_unusable_above"] == "NaN"


def test_a_half_done_study_says_how_much_is_there(make_study, write_folder, tmp_path):
    study = make_study(total_steps=5)
    study.build(tmp_path)
    undone = {"state": "queued", "outcome": "", "final_validation_loss": None, "start_loss": None, "hvps": None}
    for index, row in enumerate(study.rows["trials"]):
        if index % 2:
            row.update(undone, steps_completed=None, gradients=None, reference_loss=None, steps_to_target=None)
    folder = write_folder(tmp_path / "half", study.rows)
    report = analyse(folder, study.spec())
    assert "140 of 280 trials done" in report.verdict
    assert "Cannot be told yet, the study is not finished" in " ".join(report.verdict.split())
    assert not any(row["verdict"] in ("wins", "loses", "ties") for row in ranking_table(report))
    write_report(report, folder)


def test_a_study_with_nothing_done_has_a_report(make_study, write_folder, tmp_path):
    study = make_study(total_steps=5)
    study.build(tmp_path)
    for row in study.rows["trials"]:
        row.update(state="queued", outcome="", final_validation_loss=None, start_loss=None, steps_completed=None)
    folder = write_folder(tmp_path / "nothing", {"trials": study.rows["trials"]})
    report = analyse(folder, study.spec())
    assert "nothing to tell" in report.verdict
    assert all(not figure.panels for figure in report.figures.values())
    assert "nothing to draw" in write_report(report, folder)[2].read_text(encoding="utf-8")


def test_a_study_without_trials_has_a_report(write_trials, small_spec):
    folder = write_trials([])
    report = analyse(folder, small_spec)
    assert report.counts["trials"] == 0
    write_report(report, folder)


def test_all_diverged_and_nan_everywhere_is_told(write_trials, small_spec, make_row):
    rows = [
        make_row(name, lr, seed, math.nan, outcome="diverged", start_loss=math.nan, reference_loss=math.nan)
        for name in ("none", "warm")
        for lr in (0.1, 1.0)
        for seed in range(3)
    ]
    folder = write_trials(rows)
    report = analyse(folder, small_spec)
    words = " ".join(report.verdict.split())
    assert "neither it nor the baseline trained at any peak LR" in words
    assert "none none of the grid" in words
    write_report(report, folder)


def test_an_analytic_study_leads_with_its_steps(write_trials, make_row):
    spec = {
        "name": "cosh-wall",
        "workloads": [{"name": "cosh", "task": "analytic", "function": {"kind": "cosh", "k0": 1.0, "k1": 1.0}}],
        "optimizers": [{"name": "gd", "kind": "sgd", "momentum": 0.0}],
        "schedules": [{"name": name} for name in ("descent", "liu", "alimisis")],
        "analysis": {"baseline": "descent", "metric": "train_loss", "target": 1e-6},
    }
    rows = [
        make_row(
            name,
            1.0,
            0,
            workload="cosh",
            optimizer="gd",
            dataset="",
            start_loss=1000.0,
            reference_loss=None,
            final_train_loss=1e-7 * steps,
            steps_to_target=steps,
        )
        for name, steps in (("descent", 9), ("liu", 46), ("alimisis", 194))
    ]
    report = analyse(write_trials(rows), spec)
    (sentences,) = report.verdicts.values()
    assert sentences[0].startswith("Steps to train loss at most 1e-06: descent 9; liu 46 (5.11 x")
    assert any(sentence.startswith("One seed: no interval") for sentence in sentences)
    assert [each.steps.median for each in report.groups[0].contenders] == [9, 46, 194]


def test_without_a_baseline_schedules_are_ranked_and_not_tested(write_trials, small_spec, make_row):
    rows = [make_row(name, 0.1, seed, loss) for name, loss in (("none", 0.3), ("warm", 0.2)) for seed in (0, 1)]
    spec = {**small_spec, "analysis": {"metric": "validation_loss"}}
    words = " ".join(analyse(write_trials(rows), spec).verdict.split())
    assert "No baseline is named" in words
    assert words.index("warm 0.2") < words.index("none 0.3")


def test_one_schedule_has_nothing_to_be_compared_with(write_trials, small_spec, make_row):
    rows = [make_row("none", 0.1, seed, 0.2) for seed in (0, 1)]
    assert "One schedule (none), so nothing to compare" in analyse(write_trials(rows), small_spec).verdict


def test_a_best_rate_at_the_grids_edge_is_warned_of(write_trials, small_spec, make_row):
    rows = [make_row(name, lr, seed, 1 / lr) for name in ("none", "warm") for lr in (1.0, 2.0) for seed in (0, 1)]
    report = analyse(write_trials(rows), small_spec)
    assert "Warning: the best peak LR is at the grid's edge for none (highest rate, 2)" in " ".join(
        report.verdict.split()
    )


def test_unequal_tuning_and_a_missing_margin_are_said(write_trials, small_spec, make_row):
    rows = [make_row("none", lr, seed, 0.2 + lr * seed) for lr in (0.1, 0.2, 0.3) for seed in (0, 1, 2)]
    rows += [make_row("warm", 0.1, seed, 0.2 + 0.3 * seed) for seed in (0, 1, 2)]
    spec = {**small_spec, "analysis": {**small_spec["analysis"], "equivalence_margin": None}}
    words = " ".join(analyse(write_trials(rows), spec).verdict.split())
    assert "Unequal tuning budgets favour whoever had more configurations: none 3; warm 1." in words
    assert "No equivalence_margin is set, so no tie can be declared." in words


def test_what_is_no_result_folder_is_refused(tmp_path, small_spec):
    with pytest.raises(PlaceError, match="no result folder"):
        analyse(tmp_path, small_spec)
    (tmp_path / "trials.parquet").write_bytes(b"not parquet")
    with pytest.raises(PlaceError, match="cannot be read as Parquet"):
        analyse(tmp_path, small_spec)


def test_a_folder_that_cannot_be_written_is_said(report, tmp_path):
    with pytest.raises(PlaceError, match="cannot be written"):
        write_report(report, tmp_path / "missing")


def test_a_report_loads_neither_torch_nor_a_plotting_library():
    code = (
        "import sys, workers.analysis as a; "
        "print([m for m in ('torch', 'ray', 'sqlalchemy', 'mlflow', 'plotly', 'matplotlib') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    made = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"


def test_trials_that_never_began_are_said_with_their_reason(write_trials, small_spec, make_row):
    flat = {"outcome": "stalled", "reason": "no_positive_sharpness", "outcome_step": 0, "steps_completed": 0}
    above = flat | {"reason": "optimum_above_start"}
    rows = [make_row("none", 0.1, seed, 2.4, **flat) for seed in range(3)]
    rows += [make_row("warm", 0.1, seed, 2.4, **(above if seed else {})) for seed in range(3)]
    words = " ".join(analyse(write_trials(rows), small_spec).verdict.split())
    assert "3 trials made no update: the sharpness at the start, in whose units the peak LR is stated," in words
    assert "2 trials made no update: the optimum that the warmup was given lies above the loss at the start" in words


def test_every_reason_for_not_beginning_has_its_words():
    assert set(ranking.NEVER_BEGAN) == outcome.NEVER_BEGAN


@pytest.mark.parametrize(
    ("noise", "num_seeds", "said"), [(None, 3, True), (None, 1, False), ({"kind": "abc"}, 3, False)]
)
def test_seeds_that_draw_nothing_are_said_to_be_one_trial(write_trials, small_spec, make_row, noise, num_seeds, said):
    wall = {"name": "w", "task": "analytic", "function": {"kind": "cosh"}, **({"noise": noise} if noise else {})}
    rows = [
        make_row(name, 0.1, seed, 0.3, final_train_loss=0.3) for name in ("none", "warm") for seed in range(num_seeds)
    ]
    words = " ".join(analyse(write_trials(rows), small_spec | {"workloads": [wall]}).verdict.split())
    assert ("the 3 seeds are one and the same trial" in words) == said

"""Rates that are multiples of 1/sharpness at the start: said wherever such a number stands, never multiplied again."""

import pytest

from workers.analysis import analyse, ranking_table
from workers.analysis.question import read_question

UNIT = {"quantity": "sharpness", "scope": "trial"}


@pytest.fixture
def report(tmp_path, write_folder, small_spec, make_row):
    """Multiples 1 and 4, of which 1 is usable without warmup and both with it; lambda_0 is 10 + seed."""
    rows, probes = [], []
    for schedule, largest in (("none", 1.0), ("warm", 4.0)):
        for multiple in (1.0, 4.0):
            for seed in range(3):
                loss = 0.3 + 0.01 * seed if multiple <= largest else 2.3
                row = make_row(schedule, multiple, seed, loss, warmup_steps=5 * (schedule == "warm"))
                sharpness = 10.0 + seed
                row |= {"outcome": "trained" if multiple <= largest else "stalled", "lr_multiple": multiple}
                row |= {"peak_lr": multiple / sharpness, "model": "mlp", "dataset": "digits", "state": "done"}
                row |= {"reason": "budget", "outcome_step": -1, "device": "cpu", "start_loss": 2.4, "slot": 0}
                rows.append(row | {"reference_loss": 2.3, "steps_to_target": -1, "pack_id": "p"})
                point = {"trial_id": row["trial_id"], "step": 0, "probe": "sharpness", "value": sharpness, "loss": 1.0}
                probes.append(point | {"lr": 0.1, "num_hvps": 5, "num_gradients": 1, "converged": True})
    spec = {
        **small_spec,
        "probes": [{"name": "sharpness", "kind": "sharpness", "every_steps": 10}],
        "probe_budget": 1.0,
    }
    spec["optimizers"] = [
        {"name": "o", "kind": "sgd", "momentum": 0.0, "peak_lrs": {"values": [1.0, 4.0], "relative_to": UNIT}}
    ]
    return analyse(write_folder(tmp_path / "f", {"trials": rows, "probes": probes}), spec)


def test_a_multiple_is_a_cell_of_its_own_and_is_compared_as_such(report):
    (group,) = report.groups
    assert group.rate_unit == "1/sharpness"
    usable = {each.schedule: each.usable.rate for each in group.contenders}
    assert usable == {"none": 1.0, "warm": 4.0}
    assert {row["peak_lr_unit"] for row in ranking_table(report)} == {"1/sharpness"}


def test_the_verdict_and_the_figures_say_the_unit(report):
    words = " ".join(report.verdict.split())
    assert "Peak LRs are multiples of 1/sharpness, measured at each trial's own start; the table trials has" in words
    for name in ("metric_over_peak_lr", "heatmap"):
        (panel,) = report.figures[name].panels
        assert panel.x.title == "peak learning rate (x 1/sharpness at the start)"


def test_the_threshold_is_compared_with_the_multiple_itself(report):
    (sentences,) = report.verdicts.values()
    words = " ".join(sentences)
    assert "none's best peak LR is 1/sharpness (below 2)" in words
    assert "the next, not usable, 4/sharpness (above 2)" in words


def test_the_unit_of_an_optimizer_is_that_of_its_schedules_its_own_or_the_studys():
    rates, schedule = {"values": [1.0], "relative_to": UNIT}, {"name": "s", "warmup": {"kind": "none"}}
    for spec in (
        {"peak_lrs": rates, "optimizers": [{"name": "o"}], "schedules": [schedule]},
        {"peak_lrs": None, "optimizers": [{"name": "o", "peak_lrs": rates}], "schedules": [schedule]},
        {"optimizers": [{"name": "o", "peak_lrs": None}], "schedules": [schedule | {"peak_lrs": rates}]},
    ):
        assert read_question(spec).rate_unit("o") == "1/sharpness"
    plain = {"peak_lrs": rates, "optimizers": [{"name": "o", "peak_lrs": {"values": [1.0]}}], "schedules": [schedule]}
    assert read_question(plain).rate_unit("o") == ""

"""Gradient noise from a folder to the report, and the label of a secant that reads noise."""

import numpy as np
import pytest

from workers.analysis import analyse
from workers.analysis.noise import fit_abc
from workers.analysis.page import render_page

COUNT = 4


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Two trials whose noise is 0.5 gap + 3 at every point, and a secant that is noise at all points but the first."""
    from tests.analysis.conftest import trial_row, write_tables

    folder = tmp_path_factory.mktemp("noise")
    rows = {"trials": [], "steps": [], "probes": []}
    random = np.random.default_rng(0)
    for seed in range(2):
        trial = f"none/{seed}"
        common = {"workload": "w", "optimizer": "o", "schedule": "none", "peak_lr": 0.1, "seed": str(seed)}
        rows["trials"].append(trial_row(trial_id=trial, **common, final_validation_loss=0.3, steps_completed=10))
        for step in range(10):
            loss, square = float(np.exp(-step / 3)), float(random.uniform(0.1, 2.0))
            variance = 0.5 * loss + 3.0
            row = {"trial_id": trial, "step": step, "loss": loss, "lr": 0.1, "batch_size": 16, "converged": True}
            row |= {"gradient_norm": (square + variance / COUNT) ** 0.5}
            rows["probes"] += [
                {**row, "probe": "g.variance", "value": variance},
                {**row, "probe": "g.scale", "value": 16 * variance / square},
                {**row, "probe": "secant_noise", "value": 9.0, "error": 9.0, "converged": step == 0},
            ]
    spec = {
        "name": "by-hand",
        "workloads": [{"name": "w", "task": "classification"}],
        "optimizers": [{"name": "o", "kind": "sgd", "momentum": 0.0}],
        "schedules": [{"name": "none"}],
        "probes": [
            {"kind": "gradient_noise", "name": "g", "every_steps": 1, "batch": {"size": None, "count": COUNT}},
            {"kind": "secant_noise", "every_steps": 1},
        ],
        "probe_budget": 9.0,
        "analysis": {"metric": "validation_loss"},
    }
    return analyse(write_tables(folder, rows), spec)


def test_the_constants_come_back_from_the_rows(measured):
    (fit,) = measured.noise
    assert (fit.abc.a, fit.abc.b, fit.abc.c) == pytest.approx((0.5, 0.0, 3.0), abs=1e-6)
    assert (fit.label, fit.probe, fit.batch_size, fit.abc.n) == ("w, o", "g", 16, 20)
    assert fit.scale > 16


def test_a_secant_that_reads_noise_says_so(measured):
    (note,) = measured.measured_notes
    assert note.startswith("secant_noise is noise-dominated (noise / curvature above 1) at 90 % of its 20 points")


def test_points_of_one_probe_stand_for_it(measured):
    assert [each.probe for each in measured.probes] == ["g.scale", "g.variance", "secant_noise"]
    assert all(not each.thinned for each in measured.probes)


def test_the_page_has_the_table(measured):
    page = render_page(measured)
    assert "Gradient noise" in page
    assert "noise-dominated" in page


def test_a_fit_says_how_far_it_is_from_a_bound():
    gap = np.linspace(1.0, 2.0, 11)
    variance = gap.copy()
    variance[5] *= 3
    fit = fit_abc(variance, gap, np.zeros(11))
    assert fit.violated == pytest.approx(1 / 11)
    assert fit.largest > 2
    nothing = fit_abc(np.array([np.nan]), np.ones(1), np.ones(1))
    assert nothing.n == 0

"""The smoothness law in the report: what was planted is told in words, in numbers and in a figure."""

import json

import numpy as np
import pytest

from tests.laws import controls
from workers.analysis import analyse, figure_png, write_report
from workers.analysis.reading import ResultFolder


@pytest.fixture
def report_of(tmp_path, write_folder, small_spec, make_row):
    """The report of a study whose curvature is that of a control: `report_of(points, kind=..., optimum=...)`."""

    def make(points, *, kind="sharpness", offset=0.0, optimizer=None, analysis=None, warmup_steps=3, workload=None):
        trials, probes = [], []
        for trial in np.unique(points.trial):
            own = points.where(points.trial == trial)
            row = make_row("none", float(own.peak_lr[0]), int(own.cluster[0]), 0.3, warmup_steps=warmup_steps)
            row |= {"trial_id": f"t{trial}", "state": "done", "outcome": "trained", "start_loss": 2.4}
            trials.append(row | {"final_train_loss": 0.3})
            for gap, value, norm, lr, step in zip(
                own.gap, own.curvature, own.gradient_norm, own.lr, own.step, strict=True
            ):
                numbers = {"value": value, "loss": gap + offset, "gradient_norm": norm, "lr": lr, "step": int(step)}
                probes.append({"trial_id": f"t{trial}", "probe": "mine", "converged": True, **numbers})
        spec = {**small_spec, "probes": [{"name": "mine", "kind": kind, "every_steps": 1}], "probe_budget": 1.0}
        spec["optimizers"] = [{"name": "o", **(optimizer or {"kind": "sgd", "momentum": 0.0})}]
        spec["workloads"] = [workload or {"name": "w", "task": "classification"}]
        spec["analysis"] = {**small_spec["analysis"], **(analysis or {})}
        return analyse(write_folder(tmp_path / "f", {"trials": trials, "probes": probes}), spec)

    return make


@pytest.fixture(scope="module")
def lawful():
    return controls.lawful(np.random.default_rng(0))


def sentences(report):
    (told,) = report.law_words.values()
    return " ".join(told)


def test_a_law_that_holds_is_told_with_its_numbers(report_of, lawful):
    report = report_of(lawful)
    words = sentences(report)
    assert "read from sharpness: supported: curvature rises with the gap beyond" in words
    main = report.laws["w, o"][0]
    assert (main.fit.law.rho, main.fit.law.k0, main.fit.law.k_rho) == pytest.approx((1.0, 1.0, 4.0), rel=0.2)
    assert "the gap being the loss minus 0 (0 taken as the optimum)" in words
    assert "% above the envelope" in words
    assert "Of what was left out the gap explains " in words
    assert [law.phase for law in report.laws["w, o"]] == ["all", "before the peak", "after the peak"]
    assert "By phase: before the peak " in words
    assert (
        "\nSmoothness law, w, o\n- ||Hessian|| <= K0 + Krho gap^rho, read from sharpness: supported" in report.verdict
    )


def test_a_law_that_does_not_hold_is_told_with_its_reasons(report_of):
    words = sentences(report_of(controls.edge_of_stability(np.random.default_rng(0))))
    assert "read from sharpness: not supported: " in words
    assert "2/lr (edge of stability) tells curvature better than the gap does" in words


def test_the_page_the_json_and_the_figure_have_it(report_of, lawful, tmp_path):
    report = report_of(lawful)
    write_report(report, tmp_path)
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored["laws"]["w, o"][0]["fit"]["answer"] == "supported"
    assert 'id="law"' in (tmp_path / "report.html").read_text()
    panel = report.figures["smoothness_law"].panels[0]
    points, fit, envelope = panel.series
    assert panel.x.log
    assert panel.y.log
    assert sorted(set(points.shade)) == pytest.approx(np.log10(controls.RATES), rel=1e-4)
    assert fit.name.startswith("fit: ")
    assert (np.array(envelope.y) >= np.array(fit.y)).all()
    assert panel.note.startswith("Supported: ")
    assert figure_png(report, "smoothness_law", tmp_path / "law").stat().st_size > 10_000


def test_a_study_without_a_curvature_probe_says_nothing_and_reads_nothing(
    write_trials, small_spec, make_row, monkeypatch
):
    read = []
    original = ResultFolder.rows
    monkeypatch.setattr(
        ResultFolder,
        "rows",
        lambda self, table, columns, *ids: read.append(columns) or original(self, table, columns, *ids),
    )
    report = analyse(write_trials([make_row("none", 0.1, seed, 0.3) for seed in (0, 1)]), small_spec)
    assert report.laws == report.law_words == {}
    assert not report.figures["smoothness_law"].panels
    assert "Smoothness law" not in report.verdict
    assert not any("gradient_norm" in columns for columns in read)


def test_an_optimum_that_is_not_zero_bends_the_law_and_a_joint_fit_says_so(report_of, lawful):
    points = type(lawful)(**{**vars(lawful), "curvature": 4 * lawful.gap})
    zero = report_of(points, offset=0.8)
    main = zero.laws["w, o"][0]
    assert main.joint_optimum.value == pytest.approx(0.8, rel=0.02)
    assert main.joint_rho == pytest.approx(1.0, rel=0.05)
    assert "With the optimum fitted too, and K0 = 0, it is 0.8" in sentences(zero)


def test_the_optimum_is_the_one_that_the_study_states(report_of, lawful):
    points = type(lawful)(**{**vars(lawful), "curvature": 4 * lawful.gap})
    given = report_of(points, offset=0.8, analysis={"optimum": {"kind": "given", "value": 0.8}}).laws["w, o"][0]
    assert (given.optimum_kind, given.optimum) == ("given", 0.8)
    assert given.fit.law.rho == pytest.approx(1.0, rel=1e-3)


def test_the_optimum_may_be_fitted(report_of, lawful):
    points = type(lawful)(**{**vars(lawful), "curvature": 4 * lawful.gap})
    fitted = report_of(points, offset=0.8, analysis={"optimum": {"kind": "fitted"}}).laws["w, o"][0]
    assert fitted.optimum == pytest.approx(0.8, rel=0.02)
    assert fitted.fit.law.rho == pytest.approx(1.0, rel=0.05)


def test_a_function_without_noise_has_a_cluster_for_each_cell(report_of):
    points = controls.descent(lambda w: np.cosh(w) - 1, np.sinh, np.cosh, 6.0, (1e-3, 3e-3, 1e-2, 2e-2), 40)
    wall = {"name": "w", "task": "analytic", "function": {"kind": "cosh"}}
    report = report_of(points, workload=wall)
    fit = report.laws["w, o"][0].fit
    assert (fit.num_clusters, str(fit.answer)) == (4, "supported")
    words = sentences(report)
    assert "every seed is the same trial: the 4 that differ count one by one, all from one start" in words
    assert "95 % over resampled trials" in words
    assert "resampled seeds" not in words


def test_a_function_of_several_coordinates_from_one_start_has_no_law_to_support(report_of):
    points = controls.descent(lambda w: np.cosh(w) - 1, np.sinh, np.cosh, 6.0, (1e-3, 3e-3, 1e-2, 2e-2), 40)
    valley = {"name": "w", "task": "analytic", "function": {"kind": "river_valley", "eigenvalues": [0.1]}}
    fit = report_of(points, workload=valley).laws["w, o"][0].fit
    assert str(fit.answer) == "not identifiable"
    noisy = valley | {"noise": {"kind": "additive", "sigma": 0.1}}
    assert "one path" not in " ".join(report_of(points, workload=noisy).laws["w, o"][0].fit.reasons)


def test_in_mup_the_plain_curvature_bounds_no_rate_of_sgd(report_of, lawful):
    mup = {"name": "w", "task": "classification", "model": {"kind": "mlp", "parametrization": "mup"}}
    assert "the law of the plain Hessian bounds no rate of it" in sentences(report_of(lawful, workload=mup))
    assert "bounds no rate" not in sentences(report_of(lawful, workload=mup, kind="preconditioned_sharpness"))


def test_for_an_adaptive_optimizer_the_preconditioned_curvature_counts_first(report_of, lawful):
    adam = {"kind": "adam"}
    words = sentences(report_of(lawful, optimizer=adam))
    assert "the law of the plain Hessian bounds no rate of it" in words
    words = sentences(report_of(lawful, optimizer=adam, kind="preconditioned_sharpness"))
    assert "read from preconditioned sharpness: supported" in words
    assert "bounds no rate" not in words

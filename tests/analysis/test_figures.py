"""What is drawn: the planted numbers, one look per schedule, the right stability line."""

import math
from typing import get_args
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from schemas.errors import PlaceError
from workers.analysis import FIGURE_NAMES, analyse, figure, figure_png, figure_svg, write_report
from workers.analysis.figures.colours import looks
from workers.analysis.figures.interactive import log_ticks, panel_figure
from workers.analysis.figures.model import Axis, Figure, Panel, Series, Symbol
from workers.analysis.figures.source import MAX_POINTS, curve_over_seeds
from workers.analysis.figures.still import save_figure


@pytest.fixture(scope="module")
def report(quickstart):
    return analyse(*quickstart)


@pytest.fixture(scope="module")
def folder(quickstart, report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    write_report(report, folder)
    return folder


def test_there_are_seven_figures_with_a_panel_for_each_workload_and_optimizer(report):
    assert len(FIGURE_NAMES) == 7
    assert not report.figures["steps_to_target"].panels, "which is for functions that start at several gaps"
    for name in set(FIGURE_NAMES) - {"steps_to_target"}:
        titles = [panel.title for panel in report.figures[name].panels]
        assert titles == ["digits-mlp, sgd", "digits-mlp, adamw"]


def test_sgd_has_its_stability_line_and_adamw_says_why_it_has_none(report):
    sgd, adamw = report.figures["sharpness"].panels
    assert [rule.y for rule in sgd.rules] == pytest.approx([3.8])
    assert not adamw.rules
    assert "preconditioned" in adamw.note


def test_sharpness_is_multiplied_by_the_rate_in_use(report):
    sgd = report.figures["sharpness"].panels[0]
    baseline = sgd.series[-1]
    # planted: 40 at step 0, no warmup, peak LR 0.0948683, unless that is above the edge at 3.6
    assert baseline.y[0] == pytest.approx(min(40 * 0.0948683, 3.6), rel=1e-4)


def test_the_sharpness_axis_holds_its_line_and_is_marked_over_all_of_its_length(report):
    panel = report.figures["sharpness"].panels[0]
    low, high = panel.y.limits
    assert panel.y.log
    assert high > 3.8
    drawn = panel_figure(panel)["layout"]["yaxis"]
    assert drawn["tickvals"] == log_ticks(math.log10(low), math.log10(high))


def test_a_negative_sharpness_keeps_the_axis_linear(write_trials, small_spec, make_row):
    folder = write_trials([make_row("none", 0.1, 0, 0.3, trial_id="a")])
    probes = {"trial_id": ["a", "a"], "step": [0, 1], "probe": ["sharpness"] * 2, "value": [3.0, -2.0]}
    pd.DataFrame({**probes, "lr": [0.1, 0.1], "converged": [True, True]}).to_parquet(folder / "probes.parquet")
    axis = analyse(folder, small_spec).figures["sharpness"].panels[0].y
    assert not axis.log
    assert axis.limits[0] < -0.2


@pytest.mark.parametrize(("kind", "unit"), [("cross_entropy", " (nats)"), ("mse", "")])
def test_a_loss_is_in_nats_only_where_it_is_a_likelihood(quickstart, kind, unit):
    folder, spec = quickstart
    figures = analyse(
        folder, {**spec, "workloads": [{**each, "loss": {"kind": kind}} for each in spec["workloads"]]}
    ).figures
    assert figures["loss_curves"].panels[0].y.title == f"training-batch loss{unit}"
    assert figures["metric_over_peak_lr"].panels[0].y.title == f"final validation loss{unit}"


def test_a_schedule_has_one_colour_in_every_figure(report):
    colours = {
        series.colour
        for name in ("loss_curves", "metric_over_peak_lr", "sharpness")
        for panel in report.figures[name].panels
        for series in panel.series
        if series.name.startswith("linear-80")
    }
    assert len(colours) == 1
    chosen = looks([("none", True), *((f"s{index}", False) for index in range(10))])
    assert len({(look.colour, look.dash) for look in chosen.values()}) == 11


def test_the_heatmap_says_how_many_of_how_many_trained(report):
    heat = report.figures["heatmap"].panels[0].heat
    assert heat.texts[0][-1] == "2.45\n0/5\n✕5"
    assert "\n" not in heat.texts[2][4]


def test_diverged_and_stalled_rates_are_marked(report):
    marks = [series for series in report.figures["metric_over_peak_lr"].panels[0].series if series.kind == "marks"]
    assert [series.name for series in marks] == ["some seed diverged", "some seed stalled"]
    assert set(marks[0].texts) == {"5 of 5 diverged"}


def test_the_gap_is_taken_from_the_known_optimum(write_trials, small_spec, make_row):
    folder = write_trials(
        [make_row("none", 0.1, 0, start_loss=9.0, reference_loss=None, final_train_loss=0.6, trial_id="a")]
    )
    probes = {"trial_id": ["a", "a"], "step": [0, 1], "probe": ["secant_smoothness"] * 2, "value": [3.0, 2.0]}
    pd.DataFrame({**probes, "loss": [1.5, 0.5], "lr": [0.1, 0.1]}).to_parquet(folder / "probes.parquet")
    workload = {"name": "w", "task": "analytic", "function": {"kind": "flat_then_exponential"}}
    panel = analyse(folder, {**small_spec, "workloads": [workload]}).figures["smoothness_over_gap"].panels[0]
    assert panel.series[0].x == (1.0,)  # a gap of 0 has no logarithm
    assert panel.x.title == "gap: probe loss - 0.5"


def test_a_long_curve_is_merged_and_keeps_its_spike():
    steps = np.arange(10_000)
    rows = pd.DataFrame({"trial_id": "a", "step": steps, "train_loss": np.where(steps == 5003, 99.0, 1.0)})
    curve = curve_over_seeds(rows, "train_loss")
    assert len(curve) <= MAX_POINTS
    assert curve["high"].max() == 99.0
    assert curve["median"].max() == 1.0


def test_curves_leave_out_what_is_not_finite():
    rows = pd.DataFrame({"trial_id": list("ab"), "step": [0, 0], "train_loss": [math.inf, 2.0]})
    assert curve_over_seeds(rows, "train_loss")["median"].tolist() == [2.0]


@pytest.mark.parametrize("name", FIGURE_NAMES)
def test_a_figure_is_the_same_from_the_report_and_from_its_folder(report, folder, name):
    assert figure(report, name) == figure(folder, name)


@pytest.mark.proof
def test_a_figure_is_saved_as_svg_and_png_the_same_each_time(folder, tmp_path):
    one = figure_svg(folder, "heatmap", tmp_path / "one.svg")
    ElementTree.parse(one)
    assert one.read_bytes() == figure_svg(folder, "heatmap", tmp_path / "two.svg").read_bytes()
    assert figure_png(folder, "metric_over_peak_lr", tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["loss_curves", "sharpness", "smoothness_over_gap"])
def test_every_kind_of_panel_can_be_drawn_on_paper(folder, tmp_path, name):
    assert figure_svg(folder, name, tmp_path / "figure.svg").stat().st_size > 1000


@pytest.mark.parametrize("symbol", get_args(Symbol))
def test_every_symbol_can_be_drawn_on_paper(tmp_path, symbol):
    series = Series("seen", "#000000", (1.0, 2.0), (1.0, 2.0), kind="marks", symbol=symbol)
    drawn = Figure("any", "Any", "", (Panel("any", Axis("x"), Axis("y"), (series,)),))
    assert save_figure(drawn, tmp_path / "figure.svg").stat().st_size > 1000


def test_an_unknown_figure_and_a_folder_without_report_are_refused(report, tmp_path):
    with pytest.raises(ValueError, match="must be one of loss_curves"):
        figure(report, "nonsense")
    with pytest.raises(PlaceError, match=r"no report\.json"):
        figure(tmp_path, "heatmap")


def test_log_ticks_are_round_and_few():
    assert log_ticks(-1.0, 0.5) == pytest.approx([0.1, 0.2, 0.5, 1.0, 2.0])
    assert len(log_ticks(-30.0, 3.0)) <= 9
    assert log_ticks(math.log10(0.9), math.log10(4.2)) == pytest.approx([1.0, 1.5, 2.0, 3.0, 4.0])
    assert log_ticks(math.log10(1.3), math.log10(2.1)) == pytest.approx([1.4, 1.6, 1.8, 2.0])
    assert log_ticks(0.31, 0.33) == pytest.approx([10**0.31, 10**0.33])

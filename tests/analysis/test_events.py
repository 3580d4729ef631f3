"""Events of constructed series whose answer is known; thresholds as the optimizers have them; a folder to a report."""

import json
import math

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from schemas.optimizers import Optimizer
from schemas.tags import members, tags
from workers.analysis import analyse, trial_events
from workers.analysis.events import EDGE, KINDS, TrialSeries, find_events
from workers.analysis.question import read_question
from workers.analysis.thresholds import product_threshold, sharpness_probe, swept
from workers.results.event_table import add_found_events
from workers.science.optimizers import PackHyperparameters
from workers.science.registry import build_optimizer


def series(loss, sharpness=(), lr=0.1, threshold=2.0, every=1, warmup_steps=0) -> TrialSeries:
    sharpness = np.array(sharpness, dtype=float)
    return TrialSeries(
        step=np.arange(len(loss)),
        loss=np.array(loss, dtype=float),
        threshold=threshold,
        warmup_steps=warmup_steps,
        reading_step=every * np.arange(len(sharpness)),
        sharpness=sharpness,
        lr=np.broadcast_to(np.array(lr, dtype=float), sharpness.shape),
    )


def of_kind(found, kind):
    return [each for each in found if each.kind == kind]


def two_layer_linear(product: float, width: int = 512, steps: int = 200):
    """Loss f^2/2, sharpness and lr of u.v/sqrt(n) on one point, by its exact recursion (papers.md, C2)."""
    f, sharpness = 1.0, 2.0
    lr = product / sharpness
    losses, readings = [], []
    for _ in range(steps):
        losses.append(0.5 * f**2)
        readings.append(sharpness)
        change = lr * f**2 / width * (lr * sharpness - 4)
        f, sharpness = f * (1 - lr * sharpness + lr**2 * f**2 / width), sharpness + change
    return losses, readings, lr


@pytest.mark.parametrize("product", [2.5, 3.0, 3.7])
def test_a_catapult_of_the_two_layer_net_is_found_from_start_to_return(product):
    losses, readings, lr = two_layer_linear(product)
    assert max(losses) > 10 * losses[0]
    found = find_events(series(losses, readings, lr))
    (catapult,) = of_kind(found, "catapult")
    assert catapult.step == 0
    assert catapult.values["loss_before"] == losses[0]
    assert catapult.values["loss_peak"] == max(losses)
    assert catapult.values["sharpness_after"] * lr <= 2 < catapult.values["sharpness_before"] * lr
    assert [each.values["direction"] for each in of_kind(found, "threshold_crossed")] == ["up", "down"]
    (spike,) = of_kind(found, "loss_spike")
    assert spike.values["peak_step"] == int(np.argmax(losses))
    assert losses[spike.values["recovered_step"]] <= 1.2 * spike.values["loss_before"]
    (regime,) = of_kind(found, "regime")
    assert regime.step <= catapult.values["until_step"]


def test_below_the_threshold_nothing_happens():
    losses, readings, lr = two_layer_linear(1.5)
    assert {each.kind for each in find_events(series(losses, readings, lr))} == {"regime"}


def test_a_loss_that_rises_without_a_drop_of_sharpness_is_a_spike_and_no_catapult():
    loss = np.full(60, 1.0)
    loss[30:33] = [2.0, 3.0, 1.5]
    lr = np.where((np.arange(60) >= 30) & (np.arange(60) < 33), 0.3, 0.1)  # the rate alone goes over, and comes back
    found = find_events(series(loss, np.full(60, 10.0), lr))
    assert not of_kind(found, "catapult")
    (spike,) = of_kind(found, "loss_spike")
    assert (spike.step, spike.values["peak_step"], spike.values["recovered_step"]) == (30, 31, 33)
    assert (spike.values["loss_before"], spike.values["loss_peak"]) == (1.0, 3.0)


def test_a_drop_of_sharpness_without_a_rise_of_the_loss_is_no_catapult():
    sharpness = np.concatenate([np.full(10, 30.0), np.full(10, 10.0)])
    assert not of_kind(find_events(series(np.linspace(1, 0.5, 20), sharpness)), "catapult")


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_a_batch_is_no_spike(seed):
    random = np.random.default_rng(seed)
    loss = 2.0 * np.exp(-np.arange(1000) / 300) + 0.5 + 0.05 * random.standard_normal(1000)
    assert not find_events(series(loss))


def test_a_trial_that_diverges_is_one_spike_without_recovery():
    loss = [1.0] * 30 + [2.0, 4.0, 1e9, math.inf, math.nan]
    (spike,) = find_events(series(loss))
    assert (spike.step, spike.values["loss_peak"], spike.values["recovered_step"]) == (30, 1e9, -1)


def test_crossings_have_a_margin_so_that_a_reading_that_hovers_is_one():
    sharpness = [10.0, 19.0, 20.2, 19.8, 20.3, 19.5, 20.1, 15.0, 21.0]
    crossings = of_kind(find_events(series(np.ones(9), sharpness)), "threshold_crossed")
    assert [(each.step, each.values["direction"]) for each in crossings] == [(2, "up"), (7, "down"), (8, "up")]
    assert crossings[0].values["product"] == pytest.approx(2.02)


def test_sharpening_ends_at_the_edge_and_stays_there():
    rise = np.linspace(2.0, 20.5, 30)
    hover = 20.0 * (1 + 0.05 * np.cos(np.arange(40)))
    found = find_events(series(np.ones(350), np.concatenate([rise, hover]), every=5))
    (sharpening,) = of_kind(found, "progressive_sharpening")
    assert (sharpening.step, sharpening.values["until_step"]) == (0, 5 * 28)
    assert sharpening.values["factor"] == pytest.approx(rise[28] / 2.0)
    (edge,) = of_kind(found, "edge_of_stability")
    assert edge.step == 5 * int(np.argmax(rise >= 20 * EDGE[0]))
    assert edge.values["until_step"] == 5 * 69
    assert edge.values["mean_product_over_threshold"] == pytest.approx(1.0, abs=0.05)
    (regime,) = of_kind(found, "regime")
    assert (regime.values["label"], regime.step) == ("C1", 5 * 29)


def test_a_curvature_that_stands_still_just_below_is_no_edge():
    found = find_events(series(np.ones(50), np.full(50, 19.0)))
    assert not of_kind(found, "edge_of_stability")
    assert of_kind(found, "regime")[0].values["label"] == "C3"


@pytest.mark.parametrize(("course", "label"), [(1.02, "C1"), (0.98, "C2"), (1.001, "C3")])
def test_the_regime_is_what_the_sharpness_does_during_the_warmup(course, label):
    during = 5.0 * course ** np.arange(21)
    after = 5.0 / course ** np.arange(1, 80)
    (regime,) = of_kind(find_events(series(np.ones(101), [*during, *after], 0.01, warmup_steps=20)), "regime")
    assert (regime.values["label"], regime.step) == (label, 20)
    assert regime.values["factor"] == pytest.approx(course**20)


def test_without_a_threshold_only_what_needs_none_is_found():
    found = find_events(series(np.ones(50), np.linspace(1, 90, 50), threshold=math.nan))
    assert {each.kind for each in found} == {"progressive_sharpening", "regime"}


def test_every_kind_is_in_the_list_and_empty_series_have_nothing():
    assert len(KINDS) == 6
    assert find_events(series([])) == find_events(series([1.0])) == []


# --- thresholds ---


@pytest.mark.parametrize("kind", [kind for kind in tags(Optimizer) if kind != "plugin"])
def test_the_threshold_is_the_optimizers_own(kind):
    model = next(model for model, tag in zip(members(Optimizer), tags(Optimizer), strict=True) if tag == kind)
    for fields in [{}, {"momentum": 0.7}, {"momentum": 0.7, "nesterov": True}, {"betas": (0.8, 0.99)}]:
        if not set(fields) <= set(model.model_fields):
            continue
        spec = model.model_validate({"kind": kind, **fields})
        layout = None
        if kind in ("adamw_w2", "lars", "lamb"):
            from workers.science.parameters import Layout

            layout = Layout.of({"w": torch.zeros(2, 3)})
        hyperparameters = PackHyperparameters([spec], torch.float64, torch.device("cpu"), layout=layout)
        own = build_optimizer(kind, hyperparameters).stability_threshold(torch.tensor([0.5], dtype=torch.float64))
        found = product_threshold(spec.model_dump(mode="json"))
        assert found == pytest.approx(0.5 * own.item(), nan_ok=True)


def test_swept_values_stand_in_the_place_of_sweeps():
    spec = {"kind": "sgd", "momentum": {"sweep": [0.0, 0.9]}}
    assert math.isnan(product_threshold(spec))
    columns = {"optimizer.momentum": np.float64(0.9), "schedule.warmup.steps": 4.0}
    assert product_threshold(swept(spec, columns)) == pytest.approx(3.8)
    betas = swept({"kind": "adam", "betas": {"sweep": [1]}}, {"optimizer.betas": "[0.5, 0.9]"})
    assert product_threshold(betas) == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("kind", "probes", "parametrization", "expected"),
    [
        ("sgd", ["sharpness"], "standard", ("sharpness", 2.0)),
        ("sgd", ["sharpness"], "mup", ("sharpness", math.nan)),
        ("sgd", ["sharpness", "preconditioned_sharpness"], "mup", ("preconditioned_sharpness", 2.0)),
        ("adam", ["sharpness"], "standard", ("sharpness", math.nan)),
        ("adam", ["preconditioned_sharpness", "sharpness"], "standard", ("preconditioned_sharpness", 38.0)),
        ("adam", ["hessian_norm"], "standard", ("", math.nan)),
    ],
)
def test_the_reading_is_the_one_that_the_threshold_is_about(kind, probes, parametrization, expected):
    question = read_question(
        {
            "workloads": [{"name": "w", "model": {"kind": "mlp", "parametrization": parametrization}}],
            "probes": [{"kind": probe} for probe in probes],
        }
    )
    name, threshold = sharpness_probe(question, "w", {"kind": kind})
    assert (name, threshold) == (expected[0], pytest.approx(expected[1], nan_ok=True))


# --- from a folder to its report ---


@pytest.fixture(scope="module")
def catapulting(tmp_path_factory):
    """Two seeds of a schedule that catapults, one of a schedule that does not; spec, folder."""
    from tests.analysis.conftest import trial_row, write_tables

    folder = tmp_path_factory.mktemp("catapult")
    rows = {"trials": [], "steps": [], "probes": [], "events": []}
    for schedule, seed, product in (("none", 0, 3.0), ("none", 1, 2.5), ("warm", 0, 1.5), ("warm", 1, 1.2)):
        losses, readings, lr = two_layer_linear(product, steps=120)
        trial = f"{schedule}/{seed}"
        common = {"workload": "w", "optimizer": "o", "schedule": schedule, "peak_lr": 0.1, "seed": str(seed)}
        rows["trials"].append(
            trial_row(
                trial_id=trial, **common, final_validation_loss=losses[-1], steps_completed=120, pack_id=f"p{seed}"
            )
        )
        for step, (loss, sharpness) in enumerate(zip(losses, readings, strict=True)):
            rows["steps"].append({"trial_id": trial, "step": step, "lr": lr, "train_loss": loss})
            reading = {"probe": "sharpness", "value": sharpness, "converged": True, "loss": loss}
            rows["probes"].append({"trial_id": trial, "step": step, "lr": lr, **reading})
    rows["steps"].sort(key=lambda row: row["trial_id"][-1])  # by pack, as result folders have them
    rows["events"].append({"trial_id": "warm/0", "step": 40, "kind": "warmup_ended", "values": "{}"})
    spec = {
        "name": "by-hand",
        "workloads": [{"name": "w", "task": "classification"}],
        "optimizers": [{"name": "o", "kind": "sgd", "momentum": 0.0}],
        "schedules": [{"name": "none"}, {"name": "warm"}],
        "probes": [{"kind": "sharpness", "every_steps": 1}],
        "analysis": {"baseline": "none", "metric": "validation_loss"},
    }
    return write_tables(folder, rows), spec


def test_found_events_stand_in_the_table_and_are_found_once_more_the_same(catapulting):
    folder, spec = catapulting
    found = list(trial_events(folder, spec))
    assert {trial for trial, each in found if each.kind == "catapult"} == {"none/0", "none/1"}
    add_found_events(folder, spec)
    table = pq.read_table(folder / "events.parquet").to_pandas()
    assert len(table) == len(found) + 1
    assert list(table["trial_id"]) == sorted(table["trial_id"], key=["none/0", "none/1", "warm/0", "warm/1"].index)
    assert "warmup_ended" in set(table["kind"])
    assert all(isinstance(json.loads(text), dict) for text in table["values"])
    add_found_events(folder, spec)
    assert pq.read_table(folder / "events.parquet").to_pandas().equals(table)


def test_the_report_counts_marks_and_labels_them(catapulting):
    folder, spec = catapulting
    add_found_events(folder, spec)
    report = analyse(folder, spec)
    none, warm = report.dynamics
    assert (none.schedule, none.n, none.trials["catapult"], none.times["catapult"]) == ("none", 2, 2, 2)
    assert none.trials["threshold_crossed"] == 2
    assert none.times["threshold_crossed"] == 2, "a way back is no second crossing"
    assert warm.trials["catapult"] == 0
    assert [cell["regime"] for cell in report.cells] == ["C2 (2 of 2)", "C3 (2 of 2)"]
    marks = [each for each in report.figures["sharpness"].panels[0].series if each.name == "catapult"]
    assert len(marks[0].x) == 2
    assert any(each.name == "loss spike" for each in report.figures["loss_curves"].panels[0].series)


def test_a_contender_on_whose_way_nothing_happened_is_counted_as_such(catapulting):
    folder, spec = catapulting
    add_found_events(folder, spec)
    events = pd.read_parquet(folder / "events.parquet")
    events[~events["trial_id"].str.startswith("warm/")].to_parquet(folder / "events.parquet")
    none, warm = analyse(folder, spec).dynamics
    assert none.trials["catapult"] == 2
    assert (warm.n, set(warm.trials.values()), warm.regime) == (2, {0}, {})


def test_a_preconditioned_sharpness_is_drawn_with_its_own_line(catapulting, tmp_path):
    folder, spec = catapulting
    probes = pd.read_parquet(folder / "probes.parquet").assign(probe="preconditioned_sharpness")
    for name in ("trials", "steps"):
        pd.read_parquet(folder / f"{name}.parquet").to_parquet(tmp_path / f"{name}.parquet")
    probes.to_parquet(tmp_path / "probes.parquet")
    adam = {
        **spec,
        "optimizers": [{"name": "o", "kind": "adam"}],
        "probes": [{"kind": "preconditioned_sharpness", "every_steps": 1}],
    }
    panel = analyse(tmp_path, adam).figures["sharpness"].panels[0]
    assert panel.y.title == "preconditioned sharpness x lr"
    assert [rule.y for rule in panel.rules] == pytest.approx([38.0])
    assert "No line" not in panel.note

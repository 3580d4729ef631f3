"""Rates that are the gap over something, replayed rates, and what a wrong f* does to every closed loop."""

import math

import numpy as np
import pytest
import torch

from schemas.functions import Cosh, FlatThenExponential, Power, Quadratic
from schemas.optimizers import SGD
from schemas.schedules import (
    ConstantDecay,
    CosineDecay,
    PolyakWarmup,
    ReplayWarmup,
    RiabininWarmup,
    Schedule,
    SmoothnessLawWarmup,
)
from schemas.trials import Outcome
from schemas.workloads import Analytic, AnalyticBudget, Start, Stop
from workers.laws import riabinin_peak_gap, riabinin_rate

GD = SGD(kind="sgd")
ZERO = {"kind": "zero"}
CONSTANT = ConstantDecay(kind="constant")


def workload(function=None, gap=1000.0, steps=1000, stop=1e-6):
    return Analytic(
        task="analytic",
        function=function or Cosh(kind="cosh"),
        start=Start(gap=gap),
        budget=AnalyticBudget(steps=steps),
        stop=Stop(gap=stop) if stop else None,
    )


def schedule(one, decay=CONSTANT, **fields):
    return Schedule(warmup=one.model_validate(fields), decay=decay)


def polyak(**fields):
    return schedule(PolyakWarmup, **{"kind": "polyak", "optimum": ZERO, **fields})


def riabinin(**fields):
    said = {"kind": "riabinin", "k0": 1.0, "k1": 0.5, "k2": 0.25, "optimum": ZERO, **fields}
    return schedule(RiabininWarmup, **said)


def test_polyak_climbs_the_cosh_wall_in_the_17_steps_of_t3(make):
    done = make.run(make.pack(make.trial(workload(), GD, 1e3, schedule=polyak()), chunk=100), None)
    assert done.results[0].outcome_step == 17
    table = done.tables["steps"]
    np.testing.assert_allclose(table["lr"][:17], (table["train_loss"] / table["gradient_norm"] ** 2)[:17], rtol=1e-13)
    assert done.results[0].forward_passes == 0


def test_polyak_halves_the_distance_on_a_bowl_and_is_capped_by_the_peak(make):
    bowl = workload(Quadratic(kind="quadratic", eigenvalues=(4.0,)), gap=2.0, steps=6, stop=None)
    lr = make.run(make.pack(make.trial(bowl, GD, 1.0, schedule=polyak())), None).tables["steps"]["lr"][:6]
    np.testing.assert_allclose(lr, 1 / 8, rtol=1e-13)
    capped = make.run(make.pack(make.trial(bowl, GD, 0.1, schedule=polyak(scale=2.0))), None)
    assert (capped.tables["steps"]["lr"][:6] == 0.1).all()
    assert capped.results[0].warmup_steps == 1


def test_polyak_at_a_point_without_gradient_makes_no_number_that_is_none(make):
    flat = workload(Power(kind="power", p=4), steps=3, stop=None).model_copy(update={"start": Start(point=(0.0,))})
    done = make.run(make.pack(make.trial(flat, GD, 0.5, schedule=polyak())), None)
    assert done.tables["steps"]["lr"][:3].tolist() == [0.5] * 3
    assert done.tables["steps"]["train_loss"].tolist() == [0.0] * 4


def test_riabinin_has_the_peak_of_t13():
    warmup = RiabininWarmup.model_validate({"kind": "riabinin", "k0": 1.0, "k1": 0.5, "k2": 0.25, "optimum": ZERO})
    assert riabinin_peak_gap(warmup) == 2.0
    assert riabinin_rate(warmup, 2.0) == pytest.approx(2 / 3, rel=1e-15)
    gaps = np.geomspace(1e-3, 1e3, 2001)
    rates = riabinin_rate(warmup, gaps)
    assert gaps[rates.argmax()] == pytest.approx(2.0, rel=0.01)
    assert (np.diff(rates[gaps < 2]) > 0).all()
    assert (np.diff(rates[gaps > 2]) < 0).all()
    np.testing.assert_allclose(riabinin_rate(warmup, torch.from_numpy(gaps)).numpy(), rates, rtol=1e-15)


@pytest.mark.parametrize("latch", [True, False])
def test_riabinin_rises_and_then_stays_or_falls(make, latch):
    run = workload(gap=100.0, steps=60, stop=None)
    done = make.run(make.pack(make.trial(run, GD, 1.0, schedule=riabinin(latch=latch)), chunk=60), None)
    lr, loss = done.tables["steps"]["lr"][:60], done.tables["steps"]["train_loss"][:60]
    gap = np.maximum(loss, 2.0) if latch else loss
    np.testing.assert_allclose(lr, gap / (1 + 0.5 * gap + 0.25 * gap**2), rtol=1e-12)
    assert lr.max() == pytest.approx(2 / 3, rel=0.2)
    assert (lr[-1] == lr.max()) == latch


def test_riabinin_hands_over_to_the_decay_where_it_meets_the_peak(make):
    cosine = CosineDecay(kind="cosine")
    run = workload(gap=100.0, steps=60, stop=None)
    said = riabinin().model_copy(update={"decay": cosine})
    done = make.run(make.pack(make.trial(run, GD, 0.6, schedule=said), chunk=60), None)
    length = done.results[0].warmup_steps
    lr = done.tables["steps"]["lr"][:60]
    assert 1 < length < 60
    assert lr[length - 1] == 0.6
    assert (np.diff(lr[: length - 1]) > 0).all()
    assert (np.diff(lr[length - 1 :]) < 0).all()


LOOPS = {
    "descent": lambda optimum: schedule(
        SmoothnessLawWarmup, kind="smoothness_law", rule="descent", k0=1.0, k_rho=1.0, optimum=optimum
    ),
    "liu": lambda optimum: schedule(
        SmoothnessLawWarmup, kind="smoothness_law", rule="liu", k0=1.0, k_rho=1.0, optimum=optimum
    ),
    "alimisis": lambda optimum: schedule(
        SmoothnessLawWarmup, kind="smoothness_law", rule="alimisis", k0=1.0, k_rho=1.0, optimum=optimum
    ),
    "polyak": lambda optimum: polyak(optimum=optimum),
    "riabinin": lambda optimum: riabinin(optimum=optimum),
}
F9 = FlatThenExponential(kind="flat_then_exponential")  # f* = 1/2


LIKE_DESCENT = ("liu", "alimisis")


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.proof if k in LIKE_DESCENT else ()) for k in LOOPS])
def test_every_closed_loop_bears_an_optimum_that_is_true_zero_or_ten_percent_off(make, kind):
    """T14: only an optimum above the start's loss is refused; smaller violations are clamped and counted."""
    run = workload(F9, gap=50.0, steps=400, stop=None)
    optima = {"true": 0.5, "zero": 0.0, "ten percent": 0.55}
    ends = {}
    for name, value in optima.items():
        spec = make.trial(run, GD, 0.4, schedule=LOOPS[kind]({"kind": "given", "value": value}))
        done = make.run(make.pack(spec, chunk=400), None)
        ends[name] = done.results[0]
        assert done.results[0].outcome == Outcome.TRAINED
        clamped = (done.tables["steps"]["train_loss"][:400] < value).sum()
        told = done.tables["events"]["kind"].tolist().count("gap_clamped")
        assert told == (clamped > 0)
        if name != "ten percent":
            assert clamped == 0
    assert ends["true"].final["train_loss"] <= 0.55
    refused = make.trial(run, GD, 0.4, schedule=LOOPS[kind]({"kind": "given", "value": 51.0}))
    (result,) = make.run(make.pack(refused, chunk=400), None).results
    assert (result.outcome, result.reason, result.steps_completed) == (Outcome.STALLED, "optimum_above_start", 0)


def test_f_star_too_low_by_c_slows_the_tail_by_the_factor_of_t14(make):
    """On F1 the rate ends at 1/(K0 + K1 c) instead of 1/K0: log gap falls by 2 log(1 - rate) a step there."""
    run = workload(gap=10.0, steps=60, stop=None)
    for c in (0.0, 1.0, 3.0):
        said = LOOPS["descent"]({"kind": "given", "value": -c})
        table = make.run(make.pack(make.trial(run, GD, 2.0, schedule=said), chunk=60), None).tables["steps"]
        if c == 0:
            assert table["lr"][:10].max() == pytest.approx(1.0)
            continue
        assert table["lr"][59] == pytest.approx(1 / (1 + c), rel=1e-4)
        tail = table["train_loss"][15] / table["train_loss"][14]
        assert tail == pytest.approx((1 - 1 / (1 + c)) ** 2, rel=0.05)


def test_an_average_signal_with_the_smallest_loss_so_far_for_f_star_still_trains(make):
    said = schedule(
        SmoothnessLawWarmup,
        kind="smoothness_law", rule="descent", k0=1.0, k_rho=1.0,
        optimum={"kind": "running_minimum"}, signal={"source": "ema"},
    )  # fmt: skip
    run = workload(F9, gap=0.4, steps=200, stop=None)
    assert make.run(make.pack(make.trial(run, GD, 0.5, schedule=said)), None).results[0].outcome == Outcome.TRAINED


@pytest.mark.parametrize("kind", ["descent", "liu", "polyak"])
def test_a_replay_of_the_recorded_rates_is_the_same_run(make, kind):
    """T15: on a deterministic function the open loop cannot be told from the closed one."""
    run = workload(gap=1000.0, steps=100)
    adaptive = make.run(make.pack(make.trial(run, GD, 1.0, schedule=LOOPS[kind](ZERO)), chunk=100), None)
    lr = adaptive.tables["steps"]["lr"]
    rates = lr[np.isfinite(lr)].tolist()
    again = schedule(ReplayWarmup, kind="replay", peak_lr=1.0, rates=rates)
    replayed = make.run(make.pack(make.trial(run, GD, 1.0, schedule=again), chunk=100), None)
    for column in ("lr", "train_loss", "gradient_norm", "update_norm"):
        np.testing.assert_array_equal(replayed.tables["steps"][column], adaptive.tables["steps"][column])
    assert replayed.results[0].outcome_step == adaptive.results[0].outcome_step


def test_the_recorded_rates_beat_a_straight_line_of_the_same_sum(make):
    """T15: what the shape is worth, over the 9 updates from a gap of 1000."""
    run = workload(gap=1000.0, steps=100)
    adaptive = make.run(make.pack(make.trial(run, GD, 1.0, schedule=LOOPS["descent"](ZERO))), None)
    lr = adaptive.tables["steps"]["lr"][:9]
    position = np.arange(1, 10) / 9
    end = {}
    for name, shape in {
        "replay": lr,
        "linear": position,
        "square": position**2,
        "exponential": np.exp(8 * position),
    }.items():
        rates = (shape * lr.sum() / shape.sum()).tolist()
        said = schedule(ReplayWarmup, kind="replay", peak_lr=max(rates), rates=rates)
        short = workload(gap=1000.0, steps=9, stop=None)
        (result,) = make.run(make.pack(make.trial(short, GD, max(rates), schedule=said)), None).results
        end[name] = result.final["train_loss"] if result.outcome == Outcome.TRAINED else math.inf
    assert end["replay"] <= 1e-6
    assert min(value for name, value in end.items() if name != "replay") > end["replay"]


def test_a_replay_at_another_peak_is_scaled_and_its_decay_follows(make):
    run = workload(Quadratic(kind="quadratic", eigenvalues=(1.0,)), gap=1.0, steps=6, stop=None)
    said = schedule(ReplayWarmup, kind="replay", peak_lr=0.4, rates=[0.1, 0.3, 0.2])
    lr = make.run(make.pack(make.trial(run, GD, 0.8, schedule=said)), None).tables["steps"]["lr"][:6]
    assert lr.tolist() == [0.2, 0.6, 0.4, 0.8, 0.8, 0.8]

"""Analytic trials: closed loops on functions whose answer is known, where they end, and what becomes of them."""

import json
import math

import numpy as np
import pytest

from schemas.functions import Cosh, Quadratic, TwoLayerLinear
from schemas.optimizers import SGD, Adam
from schemas.schedules import (
    ConstantDecay,
    CosineDecay,
    GivenOptimum,
    LinearDecay,
    RunningMinimumOptimum,
    Schedule,
    SmoothnessLawWarmup,
)
from schemas.trials import Outcome
from schemas.workloads import Analytic, AnalyticBudget, Start, Stop
from workers.schedules import decay_factors


def analytic(function, start, steps=10_000, stop=None, **fields):
    return Analytic(
        task="analytic",
        function=function,
        start=start,
        budget=AnalyticBudget(steps=steps),
        stop=Stop(gap=stop) if stop else None,
        **fields,
    )


def law(rule="descent", decay=None, **fields):
    defaults = {"k0": 1.0, "k_rho": 1.0, "optimum": GivenOptimum(kind="given", value=0.0)}
    warmup = SmoothnessLawWarmup(kind="smoothness_law", rule=rule, **(defaults | fields))
    return Schedule(warmup=warmup, decay=decay or ConstantDecay(kind="constant"))


GD = SGD(kind="sgd")
COSH = analytic(Cosh(kind="cosh"), Start(gap=1000.0), stop=1e-6)


def parabola(*eigenvalues, point=None, **fields):
    function = Quadratic(kind="quadratic", eigenvalues=eigenvalues)
    return analytic(function, Start(point=point or (1.0,) * len(eigenvalues)), **fields)


def test_the_cosh_wall_is_climbed_in_9_46_and_194_steps(make):
    trials = [make.trial(COSH, GD, 1.0, schedule=law(rule)) for rule in ("descent", "liu", "alimisis")]
    done = make.run(make.pack(*trials, chunk=100), None)
    assert [result.outcome_step for result in done.results] == [9, 46, 194]
    assert {(result.outcome, result.reason) for result in done.results} == {(Outcome.TRAINED, "stop")}
    steps = done.tables["steps"]
    for spec, last in zip(trials, (9, 46, 194), strict=True):
        assert make.of_trial(steps, spec.trial_id, "step").tolist() == list(range(last + 1))
        assert np.flatnonzero(make.of_trial(steps, spec.trial_id, "train_loss") <= 1e-6).tolist() == [last]


def test_the_row_at_which_a_trial_ended_has_no_rate_and_no_update(make):
    done = make.run(make.pack(make.trial(COSH, GD, 1.0, schedule=law())), None)
    for column in ("lr", "update_norm"):
        assert np.isnan(done.tables["steps"][column]).tolist() == [False] * 9 + [True]
    assert done.tables["events"]["kind"].tolist() == ["stopped"]
    assert done.tables["events"]["step"].tolist() == [9]


def test_a_run_to_the_budget_has_one_row_more_than_updates(make):
    done = make.run(make.pack(make.trial(parabola(1.0, 2.0, steps=12), GD, 0.1), chunk=5), None)
    steps = done.tables["steps"]
    assert steps["step"].tolist() == list(range(13))
    assert np.isnan(steps["lr"]).tolist() == [False] * 12 + [True]
    expected = [0.5 * (0.9 ** (2 * k) + 2 * 0.8 ** (2 * k)) for k in range(13)]
    np.testing.assert_allclose(steps["train_loss"], expected, rtol=1e-13)
    assert (done.results[0].reason, done.results[0].steps_completed) == ("budget", 12)


@pytest.mark.proof
def test_gradient_descent_diverges_above_two_over_the_sharpness_and_not_below(make):
    trials = [make.trial(parabola(4.0, steps=9_000), GD, lr) for lr in (0.499, 0.55)]
    stable, unstable = make.run(make.pack(*trials, chunk=3_000), None).results
    assert (stable.outcome, unstable.outcome) == (Outcome.TRAINED, Outcome.DIVERGED)
    assert unstable.reason == "non_finite_loss"
    assert unstable.last_finite_loss > 1e300


def test_a_gap_that_does_not_shrink_is_stalled_but_not_without_an_optimum(make):
    # momentum 0 at exactly 2 / lambda: from 1 to -1 and back
    stalled = make.run(make.pack(make.trial(parabola(4.0, steps=10), GD, 0.5)), None).results[0]
    rising = make.run(make.pack(make.trial(parabola(4.0, -1.0, steps=1), GD, 0.5)), None).results[0]
    assert (stalled.outcome, rising.outcome) == (Outcome.STALLED, Outcome.TRAINED)


def test_analytic_runs_in_float32_and_float64_agree(make):
    ends = [
        make.run(make.pack(make.trial(parabola(1.0, 3.0, steps=20, dtype=dtype), Adam(kind="adam"), 0.01)), None)
        for dtype in ("float32", "float64")
    ]
    single, double = (end.results[0].final["train_loss"] for end in ends)
    assert single == pytest.approx(double, rel=1e-5)
    assert single != double


def test_the_pack_ends_when_nobody_is_training_any_more(make):
    done = make.run(make.pack(make.trial(COSH, GD, 1.0, schedule=law()), chunk=100), None)
    assert len(done.chunks) == 1
    assert done.trainer.position == 100


def test_a_closed_loop_ends_its_warmup_where_the_rate_first_equals_the_peak_and_then_decays(make):
    peak, steps = 0.3, 60
    workload = analytic(Cosh(kind="cosh"), Start(gap=100.0), steps=steps)
    done = make.run(make.pack(make.trial(workload, GD, peak, schedule=law(decay=CosineDecay(kind="cosine")))), None)
    table, warmup_steps = done.tables["steps"], done.results[0].warmup_steps
    lr, loss = table["lr"][:steps], table["train_loss"][:steps]
    first_at_peak = int(np.argmax(lr == peak))
    assert warmup_steps == first_at_peak + 1 > 1
    np.testing.assert_allclose(lr[:first_at_peak], 1 / (1 + loss[:first_at_peak]), rtol=1e-13)
    expected = peak * decay_factors(CosineDecay(kind="cosine"), warmup_steps, steps)
    np.testing.assert_allclose(lr[first_at_peak:], expected[first_at_peak:], rtol=1e-13)
    event = {name: column[0] for name, column in done.tables["events"].items()}
    assert (event["kind"], event["step"]) == ("warmup_ended", first_at_peak)
    assert json.loads(event["values"]) == {"warmup_steps": warmup_steps}


def test_a_closed_loop_ends_its_warmup_at_max_steps(make):
    workload = parabola(1.0, steps=20)
    schedule = law(k_rho=100.0, max_steps=6, decay=LinearDecay(kind="linear"))
    done = make.run(make.pack(make.trial(workload, GD, 0.5, schedule=schedule)), None)
    expected = 0.5 * decay_factors(LinearDecay(kind="linear"), 6, 20)
    assert done.results[0].warmup_steps == 6
    np.testing.assert_allclose(done.tables["steps"]["lr"][5:20], expected[5:], rtol=1e-13)


def test_without_latch_the_rule_goes_on_to_cap_the_rate(make):
    # heavy momentum swings back up the wall after the rate has reached its peak
    workload = analytic(Cosh(kind="cosh"), Start(gap=10.0), steps=80)
    heavy = SGD(kind="sgd", momentum=0.8)
    rates = {}
    for latch in (True, False):
        done = make.run(make.pack(make.trial(workload, heavy, 0.2, schedule=law(latch=latch))), None)
        after = slice(done.results[0].warmup_steps, 80)
        rates[latch] = done.tables["steps"]["lr"][after], done.tables["steps"]["train_loss"][after]
    assert (rates[True][0] == 0.2).all()
    lr, loss = rates[False]
    assert lr.min() < 0.2
    np.testing.assert_allclose(lr, np.minimum(0.2, 1 / (1 + loss)), rtol=1e-13)


def test_open_and_closed_loops_share_a_pack(make):
    workload = analytic(Cosh(kind="cosh"), Start(gap=1000.0), steps=60, stop=1e-6)
    closed = make.trial(workload, GD, 1.0, schedule=law())
    replayed = make.run(make.pack(closed), None)
    others = make.trial(workload, GD, 1e-3), make.trial(workload, GD, 1.0, schedule=law("liu"))
    mixed = make.run(make.pack(others[0], closed, others[1]), None)
    mine = make.of_trial(mixed.tables["steps"], closed.trial_id, "train_loss")
    np.testing.assert_array_equal(mine, replayed.tables["steps"]["train_loss"])


def test_a_warmup_that_never_ended_has_no_length(make):
    assert make.run(make.pack(make.trial(COSH, GD, 5.0, schedule=law())), None).results[0].warmup_steps is None


def test_an_optimum_above_the_loss_at_a_start_is_an_outcome_of_that_trial_alone(make):
    """One law, eight starts: those below the optimum have no gap and never begin, and the others do not notice."""
    schedule = law(optimum=GivenOptimum(kind="given", value=0.1))
    net = analytic(TwoLayerLinear(kind="two_layer_linear", width=64), None, steps=12)
    trials = [make.trial(net, GD, 0.1, schedule=schedule, seed=make.seed(seed)) for seed in range(8)]
    done = make.run(make.pack(*trials, chunk=5), None)
    starts = [make.of_trial(done.tables["steps"], spec.trial_id, "train_loss")[0] for spec in trials]
    assert 0 < sum(loss < 0.1 for loss in starts) < len(starts)
    for spec, result, loss in zip(trials, done.results, starts, strict=True):
        if loss >= 0.1:
            assert result.reason != "optimum_above_start"
            continue
        assert (result.outcome, result.reason, result.outcome_step) == (Outcome.STALLED, "optimum_above_start", 0)
        assert (result.steps_completed, result.gradients) == (0, 1)
        assert np.isnan(make.of_trial(done.tables["steps"], spec.trial_id, "lr")).tolist() == [True]
    well = [spec for spec, loss in zip(trials, starts, strict=True) if loss >= 0.1]
    alone = make.run(make.pack(*well, size=len(trials), chunk=5), None)
    for spec in well:
        np.testing.assert_array_equal(
            *(make.of_trial(each.tables["steps"], spec.trial_id, "train_loss") for each in (done, alone))
        )


def test_an_optimum_at_the_start_s_loss_but_for_rounding_is_none_above_it(make):
    schedule = law(optimum=GivenOptimum(kind="given", value=10.0))
    start = analytic(Cosh(kind="cosh"), Start(gap=10.0), steps=3)
    result = make.run(make.pack(make.trial(start, GD, 0.1, schedule=schedule)), None).results[0]
    assert (result.reason, result.steps_completed) == ("budget", 3)


def test_a_gap_below_zero_is_clamped_counted_and_said_once(make):
    schedule = law(optimum=GivenOptimum(kind="given", value=0.2))
    done = make.run(make.pack(make.trial(parabola(1.0, steps=9), GD, 0.5, schedule=schedule), chunk=4), None)
    below = (done.tables["steps"]["train_loss"][:9] < 0.2).sum()
    clamped = done.tables["events"]["kind"] == "gap_clamped"
    assert [json.loads(values) for values in done.tables["events"]["values"][clamped]] == [{"times": below}]


def test_a_running_minimum_lets_the_peak_through_at_each_new_minimum(make):
    schedule = law(optimum=RunningMinimumOptimum(kind="running_minimum"), latch=False)
    done = make.run(make.pack(make.trial(parabola(1.0, steps=5), GD, 0.5, schedule=schedule)), None)
    assert done.tables["steps"]["lr"][:5].tolist() == [0.5] * 5


def test_non_finite_values_in_events_are_strings(make):
    # the square of the start is beyond float64
    start = Start(point=(1e200,))
    workload = analytic(Quadratic(kind="quadratic", eigenvalues=(1.0,)), start, steps=5)
    done = make.run(make.pack(make.trial(workload, GD, 0.1)), None)
    assert json.loads(done.tables["events"]["values"][0])["last_finite_loss"] == "nan"
    assert math.isnan(done.results[0].last_finite_loss)
    assert done.results[0].outcome_step == 0

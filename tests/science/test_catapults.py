"""Searches for the catapult threshold: exact on a quadratic, bounded on others, and nothing of the trial is changed."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.functions import Quadratic, TwoLayerLinear
from schemas.optimizers import SGD, Adam
from schemas.schedules import CatapultStartWarmup, ConstantDecay, PersistentCatapultWarmup, Schedule
from schemas.trials import Outcome
from schemas.workloads import Analytic, AnalyticBudget, Start
from workers.laws import steps_saved, steps_to_peak
from workers.science.rules.catapult_search import catapult_rate

GD = SGD(kind="sgd")
CONSTANT = ConstantDecay(kind="constant")


def start(decay=CONSTANT, **fields):
    warmup = CatapultStartWarmup.model_validate({"kind": "catapult_start", "steps": 100, **fields})
    return Schedule(warmup=warmup, decay=decay)


def persistent(**fields):
    warmup = PersistentCatapultWarmup.model_validate({"kind": "persistent_catapult", **fields})
    return Schedule(warmup=warmup, decay=CONSTANT)


def parabola(*eigenvalues, steps=50):
    function = Quadratic(kind="quadratic", eigenvalues=eigenvalues)
    return Analytic(
        task="analytic", function=function, start=Start(point=(1.0,) * len(eigenvalues)),
        budget=AnalyticBudget(steps=steps),
    )  # fmt: skip


def net(steps, label_noise=0.05):
    function = TwoLayerLinear(kind="two_layer_linear", width=512, label_noise=label_noise)
    return Analytic(task="analytic", function=function, budget=AnalyticBudget(steps=steps))


def searches(done, trial_id):
    rows = zip(*(done.tables["events"][name] for name in ("trial_id", "step", "kind", "values")), strict=True)
    return [
        (step, json.loads(values)) for name, step, kind, values in rows if (name, kind) == (trial_id, "rate_search")
    ]


def test_on_a_quadratic_the_threshold_is_two_over_lambda_in_at_most_16_evaluations(make):
    """C5: lambda 50 gives 0.04 to 1e-12."""
    spec = make.trial(parabola(50.0), GD, 0.1, schedule=start())
    done = make.run(make.pack(spec), None)
    ((step, found),) = searches(done, spec.trial_id)
    assert step == 0
    assert found["rate"] == pytest.approx(0.04, rel=1e-12)
    assert found["forward_passes"] <= 16
    assert done.results[0].forward_passes == found["forward_passes"]
    assert done.results[0].gradients == pytest.approx(51 + found["forward_passes"] / 3)
    assert (found["steps_to_peak"], found["steps_saved"]) == (60, 40 - found["forward_passes"] / 2)


def test_the_line_begins_at_the_threshold_and_meets_the_peak_where_it_says(make):
    spec = make.trial(net(150), GD, 3.0, schedule=start(steps=100))
    done = make.run(make.pack(spec, chunk=40), None)
    ((_, found),) = searches(done, spec.trial_id)
    lr = done.tables["steps"]["lr"][: done.results[0].steps_completed]
    expected = np.minimum(3.0, found["rate"] + 3.0 * np.arange(1, len(lr) + 1) / 100)
    np.testing.assert_allclose(lr, expected, rtol=1e-13)
    if len(lr) == 150:
        assert done.results[0].warmup_steps == found["steps_to_peak"]


def test_the_papers_savings():
    """W = 1000, eta_c / peak = 0.4, 10 passes: reached after 600 updates, 395 saved."""
    assert steps_to_peak(1000, 0.4, 1.0) == 600
    assert steps_saved(1000, 0.4, 1.0, 10) == 395
    assert steps_to_peak(1000, 2.0, 1.0) == 1


def test_a_threshold_above_the_peak_needs_no_warmup(make):
    spec = make.trial(parabola(1.0), GD, 0.5, schedule=start())
    done = make.run(make.pack(spec), None)
    assert (done.tables["steps"]["lr"][:50] == 0.5).all()
    assert done.results[0].warmup_steps == 1


def test_a_loss_that_rises_at_once_leaves_the_first_rate(make):
    spec = make.trial(parabola(50.0, steps=2), GD, 1.0, schedule=start(start_rate=0.05))
    done = make.run(make.pack(spec), None)
    ((_, found),) = searches(done, spec.trial_id)
    assert (found["rate"], found["forward_passes"]) == (0.05, 1)


@settings(max_examples=60, deadline=None)
@given(curvature=st.floats(1e-3, 1e6), start_rate=st.floats(1e-9, 1e-6), delta=st.floats(1e-3, 0.5))
def test_in_one_dimension_the_rate_times_lambda_lies_between_its_bounds(curvature, start_rate, delta):
    def evaluate(rate_n, _asking_n):
        return (1 - rate_n * curvature) ** 2

    one = torch.ones(1, dtype=torch.float64)
    found, passes = catapult_rate(one, evaluate, start_rate * one, 1e9 * one, delta, torch.tensor([True]))
    assert 2 - 1e-9 <= found.item() * curvature <= 1 + (1 + delta) ** 0.5 + 1e-9
    assert passes.item() < 100


def test_members_search_each_for_itself_and_the_dead_at_no_cost():
    curvature = torch.tensor([50.0, 5.0, 1.0, 2.0], dtype=torch.float64)
    one = torch.ones(4, dtype=torch.float64)
    asked = torch.zeros(4, dtype=torch.int64)

    def evaluate(rate_n, asking_n):
        asked.add_(asking_n)
        losses = (1 - rate_n * curvature) ** 2
        losses[3] = torch.nan
        return losses

    active = torch.tensor([True, True, False, True])
    found, passes = catapult_rate(one, evaluate, 1e-4 * one, one, 0.1, active)
    assert torch.equal(passes, asked)
    assert passes[2] == 0
    assert found[2] == 1e-4
    assert found[0].item() == pytest.approx(0.04, rel=1e-12)
    assert 2.0 <= (found[1] * 5).item() <= 2.05
    assert (found[3].item(), passes[3].item()) == (1e-4, 1)  # no number counts as raised


@pytest.mark.parametrize("optimizer", [SGD(kind="sgd", momentum=0.9), Adam(kind="adam")], ids=lambda one: one.kind)
def test_on_a_network_the_loss_rises_just_there_and_the_search_leaves_no_trace(make, blobs, optimizer):
    workload = make.classification(steps=12, precision="float64", batch_size="full", gradient_clip_norm=5.0)
    spec = make.trial(workload, optimizer, 10.0, schedule=start(delta=0.1, steps=12, max_steps=1))
    done = make.run(make.pack(spec), blobs)
    ((_, found),) = searches(done, spec.trial_id)
    losses = {}
    for factor in (1.0, 0.4):
        plain = make.trial(workload, optimizer, found["rate"] * factor, schedule=make.schedule())
        losses[factor] = make.run(make.pack(plain), blobs).tables["steps"]["train_loss"][:2]
    before = losses[1.0][0]
    assert before <= losses[1.0][1] <= 1.1 * before
    assert losses[0.4][1] < before
    # the first update itself is made from the state before the search
    first = make.trial(workload, optimizer, float(done.tables["steps"]["lr"][0]), schedule=make.schedule())
    np.testing.assert_array_equal(
        make.run(make.pack(first), blobs).tables["steps"]["train_loss"][:2], done.tables["steps"]["train_loss"][:2]
    )


def test_persistent_catapults_reach_a_peak_that_diverges_without_warmup(make):
    """C6: on C3's net, without a warmup length; the rate never falls and every jump is recorded."""
    seeds, peak = range(4), 2.4  # eta lambda_0 is about 4.8
    specs = [make.trial(net(600), GD, peak, seed=make.seed(seed), schedule=persistent(delta=0.5)) for seed in seeds]
    plain = [make.trial(net(600), GD, peak, seed=make.seed(seed)) for seed in seeds]
    done = make.run(make.pack(*specs, chunk=170), None)
    assert {result.outcome for result in make.run(make.pack(*plain, chunk=600), None).results} == {Outcome.DIVERGED}
    for spec, result in zip(specs, done.results, strict=True):
        lr = make.of_trial(done.tables["steps"], spec.trial_id, "lr")[:600]
        assert result.outcome != Outcome.DIVERGED
        assert lr[-1] == peak
        assert (np.diff(lr) >= 0).all()
        found = searches(done, spec.trial_id)
        assert found[0][0] == 0
        assert len(found) > 1
        # one a step to compare with where it last searched, but for the first, which has nothing to compare with
        spent = sum(one["forward_passes"] for _, one in found)
        assert result.forward_passes == spent + result.warmup_steps - 1
        jumps = np.flatnonzero(np.diff(lr) > 0) + 1
        assert set(jumps) <= {step for step, _ in found}
        for step, one in found:
            assert lr[step] == min(peak, one["rate"])
        assert result.warmup_steps == int(np.argmax(lr == peak)) + 1


@pytest.mark.parametrize("said", [start(steps=40), persistent()], ids=["start", "persistent"])
def test_resumed_equals_uninterrupted(make, said):
    spec = make.trial(net(80), GD, 2.5, schedule=said)
    whole = make.run(make.pack(spec, chunk=80), None)
    task = make.pack(spec, chunk=9)
    trainer, chunks = type(whole.trainer)(task, None), []
    while not trainer.done:
        chunks.append(trainer.run_chunk())
        state, trainer = trainer.state_dict(), type(whole.trainer)(task, None)
        trainer.load_state_dict(state)
    tables = make.joined(chunks)
    for column in ("lr", "train_loss"):
        np.testing.assert_array_equal(tables["steps"][column], whole.tables["steps"][column])
    assert repr(trainer.results()) == repr(whole.results)
    assert sorted(tables["events"]["values"]) == sorted(whole.tables["events"]["values"])

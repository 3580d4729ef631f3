"""Peak learning rates in units of 1/sharpness at the start: the number, its cost, and what happens without one."""

import json
import math

import numpy as np
import pytest
import torch
from torch.func import hessian

from schemas.functions import Cosh, Quadratic, ScalarNet, TwoLayerLinear
from schemas.learning_rates import START_BATCHES, RelativeTo
from schemas.optimizers import SGD, Adam, GIAdam
from schemas.probes import PreconditionedSharpness, ProbeBatch, Sharpness
from schemas.trials import Outcome, ProbePoints, TrialSpec
from schemas.workloads import MLP, Analytic, AnalyticBudget, Start
from workers.science import start_sharpness as measuring
from workers.science.device import prepare
from workers.science.problem import build_problem

SHARPNESS = RelativeTo(quantity="sharpness")
OF_STUDY = RelativeTo(quantity="sharpness", scope="study")
PRECONDITIONED = RelativeTo(quantity="preconditioned_sharpness")
GD = SGD(kind="sgd")


def analytic(function, start=None, steps=5):
    return Analytic(task="analytic", function=function, start=start, budget=AnalyticBudget(steps=steps))


def relative(spec: TrialSpec, unit=SHARPNESS, first=None) -> TrialSpec:
    return TrialSpec(
        spec.workload, spec.optimizer, spec.schedule, spec.peak_lr, spec.seed,
        relative_to=unit, first_initialization=first,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_known():
    measuring._known.clear()


def test_the_rate_is_the_multiple_over_the_largest_eigenvalue(make):
    quadratic = Quadratic(kind="quadratic", eigenvalues=(50.0, 1.0, -70.0))
    spec = relative(make.trial(analytic(quadratic, Start(point=(1.0, 1.0, 0.0))), GD, 1.9))
    done = make.run(make.pack(spec), None)
    np.testing.assert_allclose(done.tables["steps"]["lr"][:5], 1.9 / 50, rtol=1e-6)
    (result,) = done.results
    assert result.peak_lr == pytest.approx(1.9 / 50, rel=1e-6)
    assert result.max_lr_applied == result.peak_lr
    assert (result.gradients, result.hvps) == (5 + 1 + 1, 3)  # a row at the end, and the start's
    (event,) = (row for row in zip(*done.tables["events"].values(), strict=True) if row[2] == "peak_lr_resolved")
    assert event[1] == 0
    assert json.loads(event[3])["sharpness"] == pytest.approx(50, rel=1e-6)


def test_each_trial_has_its_own_start_or_all_that_of_the_first_seed(make):
    net = analytic(TwoLayerLinear(kind="two_layer_linear", width=32, label_noise=0.5))
    specs = [make.trial(net, GD, 1.5, seed=make.seed(number)) for number in (3, 5)]
    problem = build_problem(net, specs, None, prepare("cpu"))
    dense = [torch.linalg.eigvalsh(_dense(problem, start))[-1].item() for start in problem.start_NP]
    own = make.run(make.pack(*map(relative, specs)), None).results
    assert [result.peak_lr for result in own] == pytest.approx([1.5 / value for value in dense], rel=1e-5)
    of_study = make.run(make.pack(*(relative(spec, OF_STUDY, first=5) for spec in specs)), None).results
    assert [result.peak_lr for result in of_study] == [own[1].peak_lr] * 2


def _dense(problem, start_P):
    return hessian(
        lambda at_P: problem.objective.loss(at_P.unsqueeze(0), problem.probe_batches(_probe(1)).batches[0])[0]
    )(start_P)


def _probe(count):
    return Sharpness(name="start", kind="sharpness", every_steps=1, batch=ProbeBatch(count=count))


@pytest.mark.parametrize(
    "optimizer",
    [GD, pytest.param(Adam(kind="adam"), marks=pytest.mark.proof), GIAdam(kind="gi_adam")],
    ids=lambda one: one.kind,
)
def test_of_a_network_it_is_the_mean_over_ten_batches_against_dense_hessians(make, blobs, optimizer):
    workload = make.classification(steps=3, model=MLP(kind="mlp", widths=(5,)), precision="float64")
    spec = relative(make.trial(workload, optimizer, 0.5), PRECONDITIONED)
    problem = build_problem(workload, [spec], blobs, prepare("cpu"))
    start_1P = problem.start_NP
    expected = []
    for batch in problem.probe_batches(_probe(START_BATCHES)).batches:
        identity = torch.eye(start_1P.shape[1], dtype=torch.float64)
        dense = problem.objective.hvp(start_1P.expand(len(identity), -1).contiguous(), batch, identity)
        _, grad_1P = problem.objective.loss_and_grad(start_1P, batch)
        # of Adam's first update, whose bias corrections cancel its (1 - beta): (1 - beta1) (|g| + eps)
        root_P = (grad_1P[0].abs() if optimizer.kind == "adam" else grad_1P[0].abs() / math.sqrt(1e-3)) + 1e-8
        scale_P = torch.ones_like(root_P) if optimizer.kind == "sgd" else (0.1 * root_P).rsqrt()
        expected.append(torch.linalg.eigvalsh(scale_P[:, None] * dense * scale_P)[-1].item())
    result = make.run(make.pack(spec), blobs).results[0]
    assert 0.5 / result.peak_lr == pytest.approx(np.mean(expected), rel=1e-4)
    assert result.gradients >= 3 + START_BATCHES
    assert result.hvps > 0


@pytest.mark.parametrize("parametrization", ["standard", "mup"])
@pytest.mark.parametrize("optimizer", [GD, Adam(kind="adam")], ids=lambda one: one.kind)
def test_the_unit_is_what_the_probe_of_its_name_reads_at_the_start(make, blobs, optimizer, parametrization):
    """One name, one number: multiple = peak x probe at step 0 where probe and training have the same batch."""
    model = MLP(kind="mlp", widths=(8, 16), parametrization=parametrization)
    workload = make.classification(steps=2, model=model, precision="float64", batch_size="full")
    fields = {"every_steps": 1, "relative_tolerance": 1e-6, "max_hvps": 200}
    probe = PreconditionedSharpness(kind="preconditioned_sharpness", **fields)
    points = {"preconditioned_sharpness": ProbePoints(steps=(0,), hvps_allowed=400)}
    spec = relative(make.trial(workload, optimizer, 0.5), PRECONDITIONED)
    done = make.run(make.pack(spec, probes=(probe,), points=points), blobs)
    assert done.tables["probes"]["value"][0] * done.results[0].peak_lr == pytest.approx(0.5, rel=1e-5)


@pytest.mark.proof
def test_the_rate_has_the_same_bits_whatever_trains_beside_it(make, blobs):
    specs = [relative(make.trial(seed=make.seed(number))) for number in range(3)]
    together = make.run(make.pack(*specs), blobs).results
    measuring._known.clear()
    alone = [make.run(make.pack(spec, size=3), blobs).results[0] for spec in reversed(specs)]
    assert [result.peak_lr for result in together] == [result.peak_lr for result in reversed(alone)]


@pytest.mark.proof
def test_absolute_and_relative_rates_share_a_pack_and_leave_each_other_alone(make, blobs):
    plain, scaled = make.trial(), relative(make.trial(seed=make.seed(1)))
    assert plain.trial_id != scaled.trial_id
    mixed = make.run(make.pack(plain, scaled), blobs)
    before = make.run(make.pack(plain, make.trial(seed=make.seed(1))), blobs)
    np.testing.assert_array_equal(
        *(make.of_trial(done.tables["steps"], plain.trial_id, "train_loss") for done in (mixed, before))
    )
    assert mixed.results[0].peak_lr is None


@pytest.mark.parametrize(
    ("function", "start"),
    [
        (ScalarNet(kind="scalar_net", depth=3), Start(point=(0.0, 0.0, 0.0))),  # the Hessian there is 0
        (Cosh(kind="cosh"), Start(point=(1e6,))),  # and there it is not finite
    ],
    ids=["flat", "infinite"],
)
def test_a_start_without_positive_sharpness_is_an_outcome(make, function, start):
    workload = analytic(function, start)
    good = relative(make.trial(analytic(function, Start(point=(1.2,) * len(start.point))), GD, 0.5))
    done = make.run(make.pack(relative(make.trial(workload, GD, 1.0))), None)
    (result,) = done.results
    assert (result.outcome, result.reason, result.outcome_step) == (Outcome.STALLED, "no_positive_sharpness", 0)
    assert math.isnan(result.peak_lr)
    assert result.steps_completed == 0
    assert done.tables["steps"]["step"].tolist() == [0]
    assert np.isnan(done.tables["steps"]["lr"]).all()
    assert make.run(make.pack(good), None).results[0].outcome == Outcome.TRAINED


def test_a_closed_loop_has_its_cap_in_the_same_unit_and_a_resumed_run_its_bits(make):
    from tests.science.test_training_analytic import law

    workload = analytic(Cosh(kind="cosh"), Start(gap=100.0), steps=40)
    spec = relative(make.trial(workload, GD, 60.0, schedule=law()))
    whole = make.run(make.pack(spec, chunk=40), None)
    cap = whole.results[0].peak_lr
    assert cap == pytest.approx(60.0 / 101.0, rel=1e-6)
    assert np.nanmax(whole.tables["steps"]["lr"]) == cap
    task = make.pack(spec, chunk=7)
    trainer = type(whole.trainer)(task, None)
    chunks = [trainer.run_chunk()]
    measuring._known.clear()
    other = type(whole.trainer)(task, None)
    other.load_state_dict(trainer.state_dict())
    while not other.done:
        chunks.append(other.run_chunk())
    np.testing.assert_array_equal(make.joined(chunks)["steps"]["train_loss"], whole.tables["steps"]["train_loss"])
    assert repr(other.results()) == repr(whole.results)  # NaN is no equal of itself


def test_ids_hash_the_multiple_and_its_unit(make):
    spec = make.trial()
    units = [None, SHARPNESS, PRECONDITIONED]
    ids = {relative(spec, unit).trial_id for unit in units}
    ids |= {relative(spec, OF_STUDY, first=number).trial_id for number in (0, 1)}
    assert len(ids) == 5
    assert relative(spec, None).trial_id == spec.trial_id
    # of mup the unit was without its factors once: those trials, and they alone, have other ids since
    mup = make.trial(make.classification(model=MLP(kind="mlp", widths=(8,), parametrization="mup")))
    told = {unit: relative(mup, unit)._canonical_unit() for unit in (SHARPNESS, PRECONDITIONED)}
    assert [b"factors" in told[unit] for unit in told] == [False, True]
    assert b"factors" not in relative(spec, PRECONDITIONED)._canonical_unit()

"""The two-layer linear net: exact recursions, catapults (design/papers.md C2) and what warmup does for it (C3)."""

import numpy as np
import pytest
import torch

from schemas.functions import TwoLayerLinear
from schemas.optimizers import SGD
from schemas.probes import Sharpness
from schemas.trials import Outcome, ProbePoints
from schemas.workloads import Analytic, AnalyticBudget
from workers.science.draws import NormalDraws
from workers.science.functions.two_layer_linear import TwoLayerLinearFunction
from workers.science.streams import generator

WIDTH, STEPS, SEEDS = 512, 1424, 20
MULTIPLES = (3.0, 4.5, 6.0, 8.0, 12.0, 20.0)
LENGTHS = (1, 4, 16, 64, 256, 1024)
FUNCTION = TwoLayerLinearFunction(TwoLayerLinear(kind="two_layer_linear", width=WIDTH))
STARTS = [FUNCTION.draw_start(generator(seed, "initialization")) for seed in range(SEEDS)]
LAMBDA_0 = np.array([FUNCTION.curvature(start).item() for start in STARTS])
OUTPUT_0 = np.array([(start[:WIDTH] @ start[WIDTH:]).item() / WIDTH**0.5 for start in STARTS])
GD = SGD(kind="sgd")


def net(steps=STEPS, label_noise=0.0, width=WIDTH):
    function = TwoLayerLinear(kind="two_layer_linear", width=width, label_noise=label_noise)
    return Analytic(task="analytic", function=function, budget=AnalyticBudget(steps=steps))


def labels(steps, level):
    draws = NormalDraws("label_noise", range(SEEDS), (), torch.zeros(1, dtype=torch.float64), scale=level)
    return np.stack([drawn.numpy() for drawn in draws.steps(0, steps)])


def recursion(rate_TN, label_TN, seeds):
    """Losses [T, N], and the curvatures [T + 1, N] along the run."""
    output, curvature = OUTPUT_0[seeds], LAMBDA_0[seeds]
    losses, curvatures = [], [curvature]
    with np.errstate(all="ignore"):
        for rate, label in zip(rate_TN, label_TN, strict=True):
            residual = output - label
            losses.append(0.5 * residual**2)
            output, curvature = (
                residual * (1 - rate * curvature) + label + rate**2 * residual**2 * output / WIDTH,
                curvature + rate * residual * (rate * residual * curvature - 4 * output) / WIDTH,
            )
            curvatures.append(curvature)
    return np.array(losses), np.array(curvatures)


def test_the_loop_makes_the_steps_of_the_recursion(make):
    steps = 120
    seeds, multiples = [0, 3, 3, 7], [1.5, 3.0, 4.5, 2.5]
    peaks = [c / LAMBDA_0[seed] for c, seed in zip(multiples, seeds, strict=True)]
    workload = net(steps, label_noise=0.05)
    trials = [
        make.trial(workload, GD, peak, seed=make.seed(seed), schedule=make.schedule(64 if c == 4.5 else 0))
        for peak, c, seed in zip(peaks, multiples, seeds, strict=True)
    ]
    done = make.run(make.pack(*trials, chunk=50), None)
    rates = np.outer(np.ones(steps), peaks)
    rates[:, 2] *= np.minimum(1, np.arange(1, steps + 1) / 64)
    losses, _ = recursion(rates, labels(steps, 0.05)[:, seeds], seeds)
    for number, spec in enumerate(trials):
        # a catapult amplifies rounding: early steps to rounding, all of them to what is left of it
        found = make.of_trial(done.tables["steps"], spec.trial_id, "train_loss")[:steps]
        np.testing.assert_allclose(found[:20], losses[:20, number], rtol=1e-9)
        np.testing.assert_allclose(found, losses[:, number], rtol=1e-4, atol=1e-12)


def test_label_noise_is_each_steps_own_whatever_the_chunks(make):
    spec = make.trial(net(30, label_noise=0.3), GD, 0.1)
    whole, parts = (make.run(make.pack(spec, chunk=chunk), None).tables["steps"]["train_loss"] for chunk in (30, 7))
    np.testing.assert_array_equal(whole, parts)
    drawn = labels(30, 0.3)[:, 0]
    assert len(set(drawn)) == 30
    assert whole[0] == pytest.approx(0.5 * (OUTPUT_0[0] - drawn[0]) ** 2, rel=1e-12)


def test_a_pack_gives_each_trial_the_start_of_its_own_initialization(make):
    trials = [make.trial(net(1), GD, 0.1, seed=make.seed(number)) for number in (4, 1)]
    table = make.run(make.pack(*trials), None).tables["steps"]
    for spec, number in zip(trials, (4, 1), strict=True):
        expected = 0.5 * OUTPUT_0[number] ** 2
        assert make.of_trial(table, spec.trial_id, "train_loss")[0] == pytest.approx(expected, rel=1e-12)


def test_probes_see_the_label_without_noise(make):
    probe = Sharpness(kind="sharpness", every_steps=1, relative_tolerance=1e-6)
    points = {"sharpness": ProbePoints(steps=(0,), hvps_allowed=60)}
    done = make.run(make.pack(make.trial(net(1, label_noise=1.0), GD, 0.1), probes=(probe,), points=points), None)
    assert done.tables["probes"]["value"][0] == pytest.approx(FUNCTION.hessian_norm(STARTS[0]).item(), rel=1e-6)
    assert done.tables["probes"]["loss"][0] == pytest.approx(0.5 * OUTPUT_0[0] ** 2, rel=1e-12)


@pytest.mark.parametrize(
    ("multiple", "regime"),
    [(1.5, "falls"), (2.5, "catapult"), (3.0, "catapult"), (3.9, "catapult"), (4.1, "diverges"), (6.0, "diverges")],
)
def test_the_regimes_of_gradient_descent_are_those_of_c2(make, multiple, regime):
    seeds = range(8)
    workload = net(400)
    trials = [make.trial(workload, GD, multiple / LAMBDA_0[number], seed=make.seed(number)) for number in seeds]
    done = make.run(make.pack(*trials, chunk=200), None)
    rates = np.outer(np.ones(400), [spec.peak_lr for spec in trials])
    _, curvatures = recursion(rates, np.zeros((400, 8)), list(seeds))
    for number, (spec, result) in enumerate(zip(trials, done.results, strict=True)):
        loss = make.of_trial(done.tables["steps"], spec.trial_id, "train_loss")
        assert result.outcome == (Outcome.DIVERGED if regime == "diverges" else Outcome.TRAINED)
        if regime == "falls":
            assert (np.diff(loss[loss > 1e-28]) <= 0).all()
        if regime == "catapult":
            assert result.max_loss > 2 * loss[0]
            assert result.final["train_loss"] < 1e-6 * loss[0]
            assert spec.peak_lr * curvatures[-1, number] < 2


EXACT = {
    3.0: [0, 0, 0, 0, 0, 0],
    4.5: [20, 20, None, 0, 0, 0],
    6.0: [20, 20, 20, 0, 0, 0],
    8.0: [20, 20, 20, None, 0, 0],
    12.0: [20, 20, 20, None, 0, 0],
    20.0: [20, 20, 20, None, 0, 0],
}
RANDOM = {(4.5, 16): (14, 20), (8.0, 64): (0, 2), (12.0, 64): (0, 6), (20.0, 64): (19, 20)}


def test_warmup_lets_a_peak_be_used_that_diverges_without_it_as_in_c3():
    """k of 20 seeds that diverge, label noise 0.05; 32 cells exactly, four hang on the draw."""
    cells = [(multiple, length) for multiple in MULTIPLES for length in LENGTHS]
    factor_TC = np.stack([np.minimum(1, np.arange(1, STEPS + 1) / length) for _, length in cells], axis=1)
    peak_CS = np.stack([multiple / LAMBDA_0 for multiple, _ in cells])
    rate_TN = (factor_TC[:, :, None] * peak_CS).reshape(STEPS, -1)
    label_TN = np.tile(labels(STEPS, 0.05), len(cells))
    losses, _ = recursion(rate_TN, label_TN, np.tile(np.arange(SEEDS), len(cells)))
    counts = (~np.isfinite(losses[-1])).reshape(len(cells), SEEDS).sum(axis=1)
    diverged = dict(zip(cells, counts.tolist(), strict=True))
    for multiple, row in EXACT.items():
        for length, expected in zip(LENGTHS, row, strict=True):
            least, most = RANDOM.get((multiple, length), (expected, expected))
            assert least <= diverged[multiple, length] <= most, (multiple, length)

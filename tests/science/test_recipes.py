"""Accumulation, averaging, dropout, bfloat16 and sampling: what a recipe adds to the plain training loop."""

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from schemas.optimizers import SGD, AdamW
from schemas.probes import SecantSmoothness, Sharpness
from schemas.trials import ProbePoints, batch_size_of
from schemas.workloads import MLP, Average
from workers.science.batches import StackedBatches
from workers.science.datasets import to_device
from workers.science.models.dropout import dropout
from workers.science.models.mlp import MLP as MLPModel
from workers.science.streams import generator, word
from workers.science.trainer import PackTrainer

EMA = Average(kind="ema", decay=0.9)
DROPPED = MLP(kind="mlp", widths=(16, 16), dropout=0.3)


def losses(make, blobs, *, lr=0.05, **fields):
    workload = make.classification(30, **fields)
    return make.run(make.pack(make.trial(workload, peak_lr=lr)), blobs).tables["steps"]["train_loss"]


# --- accumulation ---


def test_accumulated_batches_make_the_update_of_one_large_batch(make, blobs):
    whole = losses(make, blobs, batch_size=32, precision="float64")
    parts = losses(make, blobs, batch_size=8, accumulation=4, precision="float64")
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


def test_an_update_counts_all_its_accumulated_examples(make, blobs):
    workload = make.classification(batch_size=8, accumulation=4)
    workload = workload.model_copy(update={"budget": type(workload.budget)(examples=65)})
    assert batch_size_of(workload, 70) == 32
    assert make.run(make.pack(make.trial(workload)), blobs).trainer.total_steps == 3


def test_each_accumulated_part_has_dropout_masks_of_its_own(make, blobs):
    one = losses(make, blobs, batch_size=32, model=DROPPED)
    two = losses(make, blobs, batch_size=16, accumulation=2, model=DROPPED)
    assert not np.allclose(one, two, rtol=1e-3)


# --- averaging ---


def test_the_average_is_that_of_torch(make, blobs):
    spec = make.trial(make.classification(12, average=EMA, precision="float64"), SGD(kind="sgd"), 0.1)
    trainer = make.run(make.pack(spec), blobs).trainer
    parameter = torch.nn.Parameter(torch.zeros_like(trainer._loop.params_NP[0]))
    module = torch.nn.Module()
    module.register_parameter("w", parameter)
    averaged = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    again = PackTrainer(make.pack(spec), blobs)
    for _ in range(12):
        again.run_chunk(1)
        parameter.data.copy_(again._loop.params_NP[0])
        averaged.update_parameters(module)
    torch.testing.assert_close(trainer._loop.state()["average"][0], averaged.module.w.data, rtol=1e-12, atol=0)


def test_the_average_is_evaluated_and_never_trained_on(make, blobs):
    plain, averaged = (
        make.run(make.pack(make.trial(make.classification(30, average=average))), blobs) for average in (Average(), EMA)
    )
    assert plain.tables["steps"]["train_loss"].tobytes() == averaged.tables["steps"]["train_loss"].tobytes()
    for column in ("train_eval_loss", "validation_loss"):
        ours, theirs = averaged.tables["evaluations"][column], plain.tables["evaluations"][column]
        assert ours[0] == theirs[0]
        assert (ours[1:] != theirs[1:]).all()
    assert averaged.results[0].final["test_loss"] != plain.results[0].final["test_loss"]


# --- dropout ---


def test_a_share_of_the_elements_is_dropped_and_the_mean_is_kept():
    ones = torch.ones(400, 500)
    kept = dropout(ones, 0.3, torch.tensor(word(1, "dropout", 0)), 0)
    assert kept.unique().tolist() == [0.0, pytest.approx(1 / 0.7)]
    # 200,000 elements: five standard errors
    assert (kept == 0).double().mean().item() == pytest.approx(0.3, abs=5 * (0.21 / 200_000) ** 0.5)
    # no row and no column is favoured
    for axis in (0, 1):
        shares = (kept == 0).double().mean(dim=axis)
        assert shares.var().item() == pytest.approx(0.21 / ones.shape[axis], rel=0.25)


def test_masks_differ_by_step_by_seed_and_by_site_and_are_independent():
    ones = torch.ones(200_000, dtype=torch.float64)
    masks = torch.stack(
        [
            dropout(ones, 0.5, torch.tensor(word(seed, "dropout", step)), site) / 2
            for seed in (0, 1)
            for step in (0, 1)
            for site in (0, 1)
        ]
    )
    correlations = torch.corrcoef(masks) - torch.eye(len(masks), dtype=torch.float64)
    assert correlations.abs().max() < 5 / len(ones) ** 0.5


def test_without_a_key_nothing_is_dropped():
    model = MLPModel(DROPPED, (12,), 5)
    params = model.init(generator(0, "initialization"), torch.float64)
    inputs = torch.randn(9, 12, dtype=torch.float64, generator=generator(0, "inputs"))
    plain = MLPModel(MLP(kind="mlp", widths=(16, 16)), (12,), 5)
    assert torch.equal(model.apply(params, inputs), plain.apply(params, inputs))


def test_dropout_follows_the_noise_seed_alone(make, blobs):
    def curve(noise):
        seed = make.seed(0).model_copy(update={"noise": noise})
        spec = make.trial(make.classification(20, model=DROPPED), seed=seed)
        return make.run(make.pack(spec), blobs).tables["steps"]["train_loss"]

    assert curve(0).tobytes() == curve(0).tobytes()
    assert (curve(0) != curve(1)).all()


def test_a_trial_with_dropout_is_the_same_in_whatever_pack(make, blobs):
    workload = make.classification(30, model=DROPPED, precision="float64")
    specs = [make.trial(workload, peak_lr=0.05, seed=make.seed(number)) for number in range(3)]
    packed = make.run(make.pack(*specs, size=4), blobs)
    for spec in specs:
        alone = make.run(make.pack(spec), blobs).tables["steps"]["train_loss"]
        ours = make.of_trial(packed.tables["steps"], spec.trial_id, "train_loss")
        np.testing.assert_allclose(ours, alone, rtol=1e-10)


def test_dropout_on_the_full_batch_draws_for_each_trial(make, blobs):
    workload = make.classification(5, model=DROPPED, batch_size="full")
    seeds = [make.seed(0), make.seed(0).model_copy(update={"noise": 1})]
    done = make.run(make.pack(*[make.trial(workload, seed=seed) for seed in seeds]), blobs)
    first, second = done.tables["steps"]["train_loss"].reshape(2, 5)
    assert (first != second).all()


def test_probes_see_one_fixed_mask_and_change_nothing(make, blobs):
    probes = (
        SecantSmoothness(kind="secant_smoothness", every_steps=5),
        Sharpness(kind="sharpness", every_steps=10, max_hvps=40, relative_tolerance=1e-3),
    )
    steps = ProbePoints(steps=(0, 10), hvps_allowed=80)
    points = {"secant_smoothness": ProbePoints(steps=(0, 5)), "sharpness": steps}
    spec = make.trial(make.classification(15, model=DROPPED, precision="float64"))
    with_probes = make.run(make.pack(spec, probes=probes, points=points), blobs)
    without = make.run(make.pack(spec), blobs)
    assert with_probes.tables["steps"]["train_loss"].tobytes() == without.tables["steps"]["train_loss"].tobytes()
    # a mask that changed between products would leave no residual below its tolerance
    rows = with_probes.tables["probes"]
    assert rows["converged"][rows["probe"] == "sharpness"].all()


# --- precision and sampling ---


def test_bfloat16_trains_near_float32_and_is_evaluated_in_float32(make, blobs):
    full, half = (make.classification(30, precision=precision) for precision in ("float32", "bfloat16_autocast"))
    ours, theirs = (make.run(make.pack(make.trial(work, peak_lr=0.05)), blobs) for work in (half, full))
    first = slice(0, 5)
    np.testing.assert_allclose(
        ours.tables["steps"]["train_loss"][first], theirs.tables["steps"]["train_loss"][first], rtol=0.02
    )
    assert (ours.tables["steps"]["train_loss"] != theirs.tables["steps"]["train_loss"]).any()
    # nothing has been updated at step 0: what is evaluated there is the same in every bit
    assert ours.tables["evaluations"]["validation_loss"][0] == theirs.tables["evaluations"]["validation_loss"][0]
    assert ours.trainer._loop.params_NP.dtype == torch.float32


def test_bfloat16_takes_its_products_in_bfloat16(make, blobs):
    """The loss at the start, against the same network written out in bfloat16 by hand."""
    spec = make.trial(make.classification(1, precision="bfloat16_autocast"))
    done = make.run(make.pack(spec), blobs)
    params = MLPModel(spec.workload.model, (12,), 5).init(generator(0, "initialization"), torch.float32)
    batches = StackedBatches(to_device(blobs, torch.float32, torch.device("cpu")).train, [0], 32)
    inputs, targets = next(iter(batches.steps(0, 1))).tensors
    hidden = inputs[0].bfloat16()
    for layer in range(3):
        weight, bias = (params[f"{name}_{layer}"].bfloat16() for name in ("weight", "bias"))
        hidden = torch.nn.functional.linear(hidden, weight, bias)
        hidden = torch.tanh(hidden) if layer < 2 else hidden
    expected = torch.nn.functional.cross_entropy(hidden.float(), targets[0])
    assert done.tables["steps"]["train_loss"][0] == pytest.approx(expected.item(), rel=1e-3)


def test_draws_with_replacement_are_another_run_of_the_same_law(make, blobs):
    with_order, drawn = (losses(make, blobs, sampling=sampling) for sampling in ("reshuffle", "replacement"))
    assert (with_order != drawn).any()
    assert drawn[-5:].mean() < drawn[:5].mean()


# --- all at once ---


@pytest.mark.slow
@pytest.mark.parametrize("cut", [1, 7, 13])
def test_a_run_with_every_recipe_resumes_bit_for_bit(make, blobs, cut):
    workload = make.classification(
        20, model=DROPPED, average=EMA, accumulation=2, batch_size=16, sampling="replacement",
        precision="bfloat16_autocast",
    )  # fmt: skip
    task = make.pack(*[make.trial(workload, AdamW(kind="adamw"), 0.01, seed=make.seed(n)) for n in range(2)])
    whole = make.run(task, blobs)
    first = PackTrainer(task, blobs)
    chunks = [first.run_chunk(cut)]
    second = PackTrainer(task, blobs)
    second.load_state_dict(first.state_dict())
    while not second.done:
        chunks.append(second.run_chunk())
    joined = make.joined(chunks)
    for table in ("steps", "evaluations"):
        assert all(joined[table][name].tolist() == column.tolist() for name, column in whole.tables[table].items())
    assert repr(second.results()) == repr(whole.results)

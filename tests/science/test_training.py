"""The training loop against torch.optim, against itself alone, and across diverging neighbours."""

import math

import numpy as np
import pytest
import torch

from schemas.optimizers import SGD, Adam, AdamW
from schemas.records import TABLES, names
from schemas.schedules import CosineDecay, LinearDecay
from schemas.trials import Outcome
from schemas.workloads import MLP
from workers.schedules import factors
from workers.science.batches import DataOrder
from workers.science.models.mlp import MLP as MLPModel
from workers.science.streams import generator

OPTIMIZERS = {
    "sgd": SGD(kind="sgd", momentum=0.9, weight_decay=1e-3),
    "adam": Adam(kind="adam", weight_decay=1e-2),
    "adamw": AdamW(kind="adamw", weight_decay=0.1),
}
STABLE = {"sgd": 0.02, "adam": 1e-3, "adamw": 1e-3}


def same_bits(ours, theirs):
    return ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes()


def torch_loop(spec, data, steps, batch_size, clip=None):
    """nn.Linear, torch.optim, one trial: losses, gradient norms before clipping, and the model at the end."""
    model_spec = spec.workload.model
    params = MLPModel(model_spec, (12,), 5).init(generator(spec.seed.initialization, "initialization"), torch.float64)
    widths = (12, *model_spec.widths, 5)
    modules = []
    for layer in range(len(widths) - 1):
        linear = torch.nn.Linear(widths[layer], widths[layer + 1], dtype=torch.float64)
        linear.weight.data, linear.bias.data = params[f"weight_{layer}"], params[f"bias_{layer}"]
        modules += [linear, torch.nn.Tanh()]
    model = torch.nn.Sequential(*modules[:-1])
    o = spec.optimizer
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[o.kind]
    extra = {"momentum": o.momentum} if o.kind == "sgd" else {"betas": o.betas, "eps": o.eps}
    optimizer = kind(model.parameters(), 1.0, weight_decay=o.weight_decay, foreach=False, **extra)
    inputs, targets = torch.tensor(data.train_x, dtype=torch.float64), torch.tensor(data.train_y)
    index = DataOrder(spec.seed.data_order, len(targets)).positions(0, steps * batch_size).view(steps, batch_size)
    rows = []
    for rate, index_B in zip(spec.peak_lr * factors(spec.schedule, steps), index, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs[index_B]), targets[index_B])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip or math.inf)
        optimizer.step()
        rows.append((loss.item(), norm.item(), rate))
    return np.array(rows).T, model


@pytest.mark.slow
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_training_equals_torch_optim_over_200_steps(make, blobs, kind):
    workload = make.classification(200, precision="float64")
    spec = make.trial(workload, OPTIMIZERS[kind], STABLE[kind], schedule=make.schedule(20, CosineDecay(kind="cosine")))
    other = make.trial(workload, OPTIMIZERS[kind], STABLE[kind] / 3, seed=make.seed(1))
    ours = make.run(make.pack(other, spec), blobs)
    (losses, norms, rates), model = torch_loop(spec, blobs, 200, 32)
    read = {name: make.of_trial(ours.tables["steps"], spec.trial_id, name) for name in names("steps")}
    np.testing.assert_allclose(read["train_loss"], losses, rtol=1e-10)
    np.testing.assert_allclose(read["gradient_norm"], norms, rtol=1e-10)
    np.testing.assert_array_equal(read["lr"], rates)
    ours_P = torch.tensor(ours.trainer.state_dict()["loop.params"][1])
    theirs_P = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    torch.testing.assert_close(ours_P, theirs_P, rtol=1e-10, atol=1e-12)


def test_clipping_equals_torch_and_reports_the_norm_before(make, blobs):
    workload = make.classification(40, precision="float64", gradient_clip_norm=0.3)
    spec = make.trial(workload, OPTIMIZERS["sgd"], 0.02)
    (losses, norms, _), _ = torch_loop(spec, blobs, 40, 32, clip=0.3)
    ours = make.run(make.pack(spec, make.trial(workload)), blobs).tables["steps"]
    assert norms.max() > 0.3
    np.testing.assert_allclose(ours["train_loss"][:40], losses, rtol=1e-10)
    np.testing.assert_allclose(ours["gradient_norm"][:40], norms, rtol=1e-10)


@pytest.mark.slow
def test_packed_and_solo_agree_to_1e_5_over_200_stable_steps_in_float32(make, blobs):
    workload = make.classification(200)
    trials = [
        make.trial(workload, OPTIMIZERS["adamw"], 3e-3 / (1 + i), seed=make.seed(i), schedule=make.schedule(10 * i))
        for i in range(5)
    ]
    packed = make.run(make.pack(*trials, size=8), blobs).tables["steps"]
    for spec in trials:
        solo = make.run(make.pack(spec), blobs).tables["steps"]
        np.testing.assert_allclose(make.of_trial(packed, spec.trial_id, "train_loss"), solo["train_loss"], rtol=1e-5)


def test_the_same_plan_gives_the_same_bits_in_any_chunks(make, blobs):
    trials = [make.trial(peak_lr=0.1 * (1 + i), seed=make.seed(i)) for i in range(3)]
    results = []
    for chunk in (1, 7, 30):
        results.append(make.run(make.pack(*trials, chunk=chunk), blobs))
    for done in results[1:]:
        for table in ("steps", "evaluations"):
            columns, others = done.tables[table], results[0].tables[table]
            assert all(same_bits(columns[name], others[name]) for name in names(table)[1:])
        assert repr(done.results) == repr(results[0].results)


def test_a_start_does_not_depend_on_pack_or_slot_or_cell(make, blobs):
    first = make.trial(peak_lr=0.5, seed=make.seed(3))
    second = make.trial(optimizer=SGD(kind="sgd"), peak_lr=0.1, seed=make.seed(3))
    alone = make.run(make.pack(first), blobs).tables["evaluations"]
    packed = make.run(make.pack(make.trial(), second, first, size=4), blobs).tables["evaluations"]
    starts = [make.of_trial(packed, spec.trial_id, "train_eval_loss")[0] for spec in (first, second)]
    assert starts == pytest.approx([alone["train_eval_loss"][0]] * 2, rel=1e-6)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_diverging_trial_leaves_its_neighbours_bit_identical(make, blobs, kind):
    healthy = [make.trial(optimizer=OPTIMIZERS[kind], peak_lr=STABLE[kind], seed=make.seed(i)) for i in range(2)]
    tables = []
    for middle_lr in (STABLE[kind] / 2, 1e30):
        middle = make.trial(optimizer=OPTIMIZERS[kind], peak_lr=middle_lr, seed=make.seed(7))
        done = make.run(make.pack(healthy[0], middle, healthy[1]), blobs)
        tables.append((done, middle))
    (calm, _), (wild, middle) = tables
    assert wild.results[1].outcome is Outcome.DIVERGED
    for spec in healthy:
        for table in ("steps", "evaluations"):
            for column in names(table)[1:]:
                ours, theirs = (make.of_trial(d.tables[table], spec.trial_id, column) for d in (calm, wild))
                assert same_bits(ours, theirs)


def test_rows_end_where_a_trial_diverged_and_say_where_and_why(make, blobs):
    spec = make.trial(peak_lr=1e30)
    done = make.run(make.pack(spec, make.trial()), blobs)
    result = done.results[0]
    steps = make.of_trial(done.tables["steps"], spec.trial_id, "step")
    assert (result.outcome, result.outcome_step) == (Outcome.DIVERGED, steps[-1])
    assert result.steps_completed == result.outcome_step
    assert math.isnan(make.of_trial(done.tables["steps"], spec.trial_id, "lr")[-1])
    event = {name: done.tables["events"][name][0] for name in names("events")}
    assert (event["trial_id"], event["step"], event["kind"]) == (spec.trial_id, result.outcome_step, "diverged")
    assert result.reason in event["values"]
    assert math.isfinite(result.last_finite_loss)


def test_divergence_factor_ends_a_trial_whose_loss_is_finite(make, blobs):
    workload = make.classification(divergence_factor=5.0)
    spec = make.trial(workload, SGD(kind="sgd"), peak_lr=100.0)
    result = make.run(make.pack(spec), blobs).results[0]
    assert (result.outcome, result.reason) == (Outcome.DIVERGED, "divergence_factor")
    assert result.last_finite_loss > 5.0


def test_a_trial_that_learns_nothing_is_stalled_and_one_that_learns_is_trained(make, blobs):
    idle = make.trial(peak_lr=1e-9)
    useful = make.trial(make.classification(), OPTIMIZERS["adamw"], 1e-2)
    (stalled,), (trained,) = (make.run(make.pack(spec), blobs).results for spec in (idle, useful))
    assert (stalled.outcome, trained.outcome) == (Outcome.STALLED, Outcome.TRAINED)
    share = np.bincount(blobs.train_y) / len(blobs.train_y)
    assert stalled.reference_loss == pytest.approx(-(share * np.log(share)).sum())


def test_padding_slots_are_never_recorded(make, blobs):
    spec = make.trial()
    done = make.run(make.pack(spec, size=4), blobs)
    assert len(done.results) == 1
    assert all(set(table["trial_id"]) <= {spec.trial_id} for table in done.tables.values())


def test_tables_have_the_columns_types_and_order_of_the_contract(make, blobs):
    spec, other = make.trial(), make.trial(peak_lr=0.2)
    for chunk in make.run(make.pack(spec, other), blobs).chunks:
        for table, columns in chunk.tables.items():
            assert tuple(columns) == names(table)
            kinds = {"string": "O", "int64": "i", "float64": "f", "bool": "b"}
            assert [array.dtype.kind for array in columns.values()] == [kinds[c.type] for c in TABLES[table]]
        keys = (chunk.tables["steps"]["trial_id"], chunk.tables["steps"]["step"])
        order = list(zip(*keys, strict=True))
        assert order == sorted(order, key=lambda row: ([spec.trial_id, other.trial_id].index(row[0]), row[1]))


def test_rows_of_steps_are_0_to_t_minus_1_and_evaluations_end_at_t(make, blobs):
    done = make.run(make.pack(make.trial(make.classification(25))), blobs)
    assert done.tables["steps"]["step"].tolist() == list(range(25))
    assert done.tables["evaluations"]["step"].tolist() == [0, 10, 20, 25]
    assert [(chunk.first_step, chunk.last_step) for chunk in done.chunks] == [(0, 6), (7, 13), (14, 20), (21, 25)]


def test_results_are_those_of_the_rows(make, blobs):
    done = make.run(make.pack(make.trial(peak_lr=0.05)), blobs)
    result, steps, evaluations = done.results[0], done.tables["steps"], done.tables["evaluations"]
    assert result.best["train_loss"] == steps["train_loss"].min()
    assert result.max_loss == steps["train_loss"].max()
    assert result.max_lr_applied == 0.05
    assert result.final["train_loss"] == result.last_finite_loss == steps["train_loss"][-1]
    assert result.best["validation_accuracy"] == evaluations["validation_accuracy"].max()
    assert result.final["validation_loss"] == evaluations["validation_loss"][-1]
    assert result.start_loss == evaluations["train_eval_loss"][0]
    assert (result.gradients, result.hvps, result.steps_completed) == (30.0, 0, 30)
    assert 0 <= result.final["test_accuracy"] <= 1


def test_evaluation_equals_torch_on_each_set(make, blobs):
    spec = make.trial(make.classification(5, precision="float64"))
    done = make.run(make.pack(spec), blobs)
    _, model = torch_loop(spec, blobs, 5, 32)
    for part, name in (("train", "train_eval_loss"), ("validation", "validation_loss"), ("test", "test_loss")):
        inputs = torch.tensor(getattr(blobs, f"{part}_x"), dtype=torch.float64)
        targets = torch.tensor(getattr(blobs, f"{part}_y"))
        with torch.no_grad():
            outputs = model(inputs)
        expected = torch.nn.functional.cross_entropy(outputs, targets).item()
        assert done.results[0].final[name] == pytest.approx(expected, rel=1e-10)
    assert done.results[0].final["test_accuracy"] == pytest.approx(
        (outputs.argmax(1) == targets).double().mean().item()
    )


def test_full_batch_is_the_whole_training_set_at_every_step(make, blobs):
    workload = make.classification(20, batch_size="full", precision="float64")
    spec = make.trial(workload, SGD(kind="sgd"), 0.05)
    losses = make.run(make.pack(spec, make.trial(workload, seed=make.seed(1))), blobs).tables["steps"]["train_loss"]
    assert (np.diff(losses[:20]) < 0).all()
    assert losses[0] == pytest.approx(make.run(make.pack(spec), blobs).results[0].start_loss, rel=1e-12)


def test_epochs_and_examples_are_resolved_to_steps(make, blobs):
    for budget, expected in (({"epochs": 2}, 5), ({"examples": 65}, 3)):
        workload = make.classification().model_copy(update={"budget": type(make.classification().budget)(**budget)})
        assert make.run(make.pack(make.trial(workload)), blobs).trainer.total_steps == expected


def test_mup_scales_the_rate_by_parameter(make, blobs):
    model = MLP(kind="mlp", widths=(128, 128), parametrization="mup")
    spec = make.trial(make.classification(1, model=model), Adam(kind="adam", eps=1e-30), 1e-3)
    trainer = make.run(make.pack(spec), blobs).trainer
    start = MLPModel(model, (12,), 5).init(generator(0, "initialization"), torch.float32)
    start_P = torch.cat([tensor.flatten() for tensor in start.values()])
    moved_P = (torch.tensor(trainer.state_dict()["loop.params"][0]) - start_P).abs()
    # Adam's first update is the rate itself, wherever there is a gradient
    sizes = [tensor.numel() for tensor in start.values()]
    moved = dict(zip(start, (part.max().item() for part in moved_P.split(sizes)), strict=True))
    assert moved["weight_0"] == pytest.approx(1e-3, rel=1e-3)
    assert moved["weight_1"] == pytest.approx(5e-4, rel=1e-3)
    assert moved["weight_2"] == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("decay", [CosineDecay(kind="cosine", floor=0.1), LinearDecay(kind="linear")])
def test_the_rate_recorded_is_the_schedule_exactly(make, blobs, decay):
    schedule = make.schedule(7, decay)
    spec = make.trial(peak_lr=0.03, schedule=schedule)
    done = make.run(make.pack(make.trial(), spec), blobs)
    recorded = make.of_trial(done.tables["steps"], spec.trial_id, "lr")
    np.testing.assert_array_equal(recorded, 0.03 * factors(schedule, 30))
    assert done.results[1].warmup_steps == 7


def test_the_state_of_the_optimizer_is_what_is_recorded_and_what_is_applied(make, blobs):
    # without momentum or decay the update is lr x gradient: the recorded columns must say so of each other
    spec = make.trial(make.classification(precision="float64"), SGD(kind="sgd"), 0.1, schedule=make.schedule(9))
    steps = make.run(make.pack(spec), blobs).tables["steps"]
    np.testing.assert_allclose(steps["update_norm"], steps["lr"] * steps["gradient_norm"], rtol=1e-12)


def test_training_leaves_torchs_global_random_stream_alone(make, blobs):
    before = torch.random.get_rng_state()
    make.run(make.pack(make.trial()), blobs)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_classification_without_data_is_refused(make):
    with pytest.raises(ValueError, match="data: got none"):
        make.run(make.pack(make.trial()), None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_cuda_is_refused_where_there_is_none(make, blobs):
    with pytest.raises(RuntimeError, match=r"execution\.device: got cuda"):
        make.run(make.pack(make.trial()), blobs, device="cuda")

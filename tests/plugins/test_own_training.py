"""Own parts in the training loop: the numbers of a plain PyTorch loop, stacked or alone, resumed or not."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from schemas.plugins import PluginDataset, PluginLoss, PluginModel, PluginOptimizer
from schemas.probes import SecantSmoothness, Sharpness
from schemas.schedules import CosineDecay
from schemas.trials import Member, PackTask, ProbePoints
from tests.plugins import parts
from tests.science.conftest import classification, joined, make_blobs, pack, run, schedule, seed, trial
from workers.data.own import load_own
from workers.plugins import PluginFailed, load, use_files
from workers.science.batches import DataOrder
from workers.science.datasets import DataArrays
from workers.science.streams import generator, word
from workers.science.trainer import PackTrainer

PARTS = Path(parts.__file__)
BLOBS = make_blobs()
PROBES = (
    SecantSmoothness(kind="secant_smoothness", every_steps=5),
    Sharpness(kind="sharpness", every_steps=10, max_hvps=40, relative_tolerance=1e-5),
)
POINTS = {
    "secant_smoothness": ProbePoints(steps=(0, 5, 10)),
    "sharpness": ProbePoints(steps=(0, 10), hvps_allowed=80),
}
SGD = PluginOptimizer(kind="plugin", name="SGD", options={"momentum": 0.9})


@pytest.fixture(autouse=True, scope="module")
def _files():
    torch.set_num_threads(1)
    use_files([PARTS])
    yield
    use_files([])


def model(name: str, **options) -> PluginModel:
    return PluginModel(kind="plugin", name=name, options=options)


def alone(spec, *, probes=(), points=None, chunk=7) -> PackTask:
    return PackTask("pack", 1, (Member(0, spec, points or {}),), probes, chunk_steps=chunk, stacked=False)


def plain_loop(make_module, optimizer, peak_lr, num_steps, *, loss=nn.functional.cross_entropy, warmup=0):
    """Losses of a PyTorch loop as one writes it, on the same batches, in float64."""
    torch.manual_seed(generator(0, "initialization").initial_seed())
    module = make_module().double().train()
    moves = optimizer(module.parameters(), peak_lr)
    positions = DataOrder(0, len(BLOBS.train_y)).positions(0, num_steps * 32).view(-1, 32)
    losses = []
    for step, index in enumerate(positions):
        x, y = torch.tensor(BLOBS.train_x)[index].double(), torch.tensor(BLOBS.train_y)[index]
        torch.manual_seed(word(0, "dropout", step))
        moves.zero_grad()
        value = loss(module(x), y)
        value.backward()
        for group in moves.param_groups:
            group["lr"] = peak_lr * min(1.0, (step + 1) / max(1, warmup))
        moves.step()
        losses.append(float(value.detach()))
    return losses, module


def trained(workload, optimizer, peak_lr=0.05, warmup=0, **more):
    spec = trial(workload, optimizer, peak_lr, schedule=schedule(warmup))
    return run(alone(spec, **more), BLOBS)


TWINS = {
    "SGD": lambda params, lr: torch.optim.SGD(params, lr, momentum=0.9),
    "AdamW": torch.optim.AdamW,
    "NAdam": torch.optim.NAdam,
    "Walk": parts.Walk,
}


@pytest.mark.parametrize(
    ("name", "optimizer"), [("norm_net", "SGD"), ("drop_net", "AdamW"), ("norm_net", "NAdam"), ("drop_net", "Walk")]
)
def test_alone_is_the_loop_that_one_writes_oneself(name, optimizer):
    options = {"momentum": 0.9} if optimizer == "SGD" else {}
    workload = classification(25, model=model(name), precision="float64")
    ours = trained(workload, PluginOptimizer(kind="plugin", name=optimizer, options=options), 0.01, warmup=5)
    theirs, _ = plain_loop(getattr(parts, name), TWINS[optimizer], 0.01, 25, warmup=5)
    np.testing.assert_allclose(ours.tables["steps"]["train_loss"], theirs, rtol=1e-9)


def test_evaluation_uses_the_running_statistics_and_no_dropout():
    for name in ("norm_net", "drop_net"):
        ours = trained(classification(12, model=model(name), precision="float64"), SGD)
        _, module = plain_loop(getattr(parts, name), TWINS["SGD"], 0.05, 12)
        outputs = module.eval()(torch.tensor(BLOBS.validation_x).double())
        targets = torch.tensor(BLOBS.validation_y)
        final = ours.results[0].final
        assert final["validation_loss"] == pytest.approx(
            float(nn.functional.cross_entropy(outputs, targets).detach()), rel=1e-9
        )
        assert final["validation_accuracy"] == pytest.approx(float((outputs.argmax(-1) == targets).double().mean()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["net", pytest.param("Tied", marks=pytest.mark.proof)])
def test_stacked_and_alone_give_the_same_numbers(name):
    workload = classification(20, model=model(name), precision="float64")
    specs = [trial(workload, peak_lr=0.05), trial(workload, peak_lr=0.1, seed=seed(1))]
    members = tuple(Member(slot, spec, POINTS) for slot, spec in enumerate(specs))
    stacked = run(PackTask("pack", 2, members, PROBES), BLOBS)
    for slot, spec in enumerate(specs):
        single = run(alone(spec, probes=PROBES, points=POINTS), BLOBS)
        for table, column in (("steps", "train_loss"), ("evaluations", "validation_loss"), ("probes", "value")):
            rows = stacked.tables[table]
            of_slot = rows[column][rows["trial_id"] == spec.trial_id]
            np.testing.assert_allclose(of_slot, single.tables[table][column], rtol=1e-6, err_msg=f"{table} {slot}")


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [("norm_net", "NAdam"), ("drop_net", "Walk"), ("NumpyNoise", "Walk"), ("Scaled", "SGD"), ("Branching", "AdamW")],
)
def test_resumed_equals_uninterrupted_bit_for_bit(name, optimizer):
    spec = trial(classification(20, model=model(name)), PluginOptimizer(kind="plugin", name=optimizer), 0.01)
    task = alone(spec, probes=PROBES, points=POINTS)
    whole = run(task, BLOBS)
    first = PackTrainer(task, BLOBS)
    chunks = [first.run_chunk(7)]
    state = first.state_dict()
    first.run_chunk()  # what happens after the save must not reach the state
    second = PackTrainer(task, BLOBS)
    second.load_state_dict(state)
    while not second.done:
        chunks.append(second.run_chunk())
    tables = joined(chunks)
    for table in ("steps", "evaluations", "probes"):
        for column, values in whole.tables[table].items():
            np.testing.assert_array_equal(tables[table][column], values, err_msg=f"{table} {column}")


@pytest.mark.parametrize("name", ["norm_net", "drop_net"])
def test_probes_change_nothing(name):
    spec = trial(classification(15, model=model(name)), SGD, 0.05)
    with_probes = run(alone(spec, probes=PROBES, points=POINTS), BLOBS)
    without = run(alone(spec), BLOBS)
    for table in ("steps", "evaluations"):
        for column, values in without.tables[table].items():
            assert with_probes.tables[table][column].tobytes() == values.tobytes() or column == "trial_id", column
    assert repr(with_probes.results[0].final) == repr(without.results[0].final)


def test_sharpness_of_batch_norm_is_that_of_the_dense_hessian():
    spec = trial(classification(1, model=model("norm_net", width=4), precision="float64", batch_size="full"), SGD, 0.05)
    measured = run(alone(spec, probes=PROBES, points={"sharpness": ProbePoints(steps=(0,), hvps_allowed=40)}), BLOBS)
    torch.manual_seed(generator(0, "initialization").initial_seed())
    module = parts.norm_net(width=4).double().train()
    named = dict(module.named_parameters())
    sizes = [parameter.numel() for parameter in named.values()]
    x, y = torch.tensor(BLOBS.train_x).double(), torch.tensor(BLOBS.train_y)

    def loss(flat):
        given = {name: part.view_as(named[name]) for name, part in zip(named, flat.split(sizes), strict=True)}
        return nn.functional.cross_entropy(torch.func.functional_call(module, given, (x,)), y)

    flat = torch.cat([parameter.detach().reshape(-1) for parameter in named.values()])
    dense = torch.autograd.functional.hessian(loss, flat)
    rows = measured.tables["probes"]
    assert rows["converged"][0]
    assert rows["value"][0] == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-6)


def test_a_loss_of_ones_own_is_compared_with_the_best_constant_answer():
    arrays = load_own(PluginDataset(kind="plugin", name="quadratic_line"))
    data = DataArrays(
        arrays.train_x, arrays.train_y, arrays.validation_x, arrays.validation_y, arrays.test_x, arrays.test_y,
        num_classes=arrays.num_classes, sha256=arrays.sha256,
    )  # fmt: skip
    loss = PluginLoss(kind="plugin", name="regression")
    workload = classification(120, model=model("net", classes=1), loss=loss, precision="float64")
    done = run(alone(trial(workload, peak_lr=0.02)), data).results[0]
    assert done.reference_loss == pytest.approx(float(arrays.train_y.astype(float).var()), rel=1e-6)
    assert done.outcome == "trained"
    assert np.isnan(done.final["validation_accuracy"])
    assert np.isnan(done.final["test_loss"])


def test_divergence_is_a_result():
    done = trained(classification(30, model=model("norm_net")), SGD, peak_lr=1e30)
    assert done.results[0].outcome == "diverged"
    assert np.isfinite(done.results[0].last_finite_loss)


def test_a_part_that_raises_says_its_name_and_line():
    with pytest.raises(
        PluginFailed,
        match=r"^model Late raised ValueError: too often \(parts.py:\d+\), given inputs of shape \[32, 12\]$",
    ):
        trained(classification(30, model=model("Late", after=20)), SGD)


@pytest.mark.parametrize("stacked", [False, True])
def test_outputs_that_are_wrong_only_in_training_are_said_by_name(stacked):
    spec = trial(classification(9, model=model("Small")))
    with pytest.raises(
        PluginFailed, match=r"^model Small: got outputs of shape \[16, 5\], allowed a tensor with one row"
    ):
        run(PackTask("pack", 1, (Member(0, spec),), chunk_steps=3, stacked=stacked), BLOBS)


def test_outputs_that_lose_a_class_on_the_way_are_said_by_name():
    """A label without an output would cost a loss of ours nothing, and the trial would look better than it is."""
    said = r"^model Shrinking: got outputs of shape \[32, 4\], allowed \[32, 5\]: one for each of 5 classes$"
    with pytest.raises(PluginFailed, match=said):
        trained(classification(9, model=model("Shrinking")), SGD)


def test_a_loss_that_draws_has_the_bits_of_its_seed_whatever_was_drawn_before():
    spec = trial(classification(9, loss=PluginLoss(kind="plugin", name="noisy")))
    losses = []
    for start in (1, 2):
        torch.manual_seed(start)
        losses.append(run(alone(spec), BLOBS).tables["steps"]["train_loss"])
    np.testing.assert_array_equal(*losses)


def test_a_pack_that_is_not_stacked_has_one_slot():
    members = (Member(0, trial(classification(model=model("norm_net")))),)
    with pytest.raises(ValueError, match="size: got 2, allowed 1"):
        PackTrainer(PackTask("pack", 2, members, stacked=False), BLOBS)


def test_a_schedule_of_ones_own_multiplies_the_decay():
    from schemas.schedules import Schedule
    from schemas.warmups import PluginWarmup
    from workers.schedules import decay_factors, factors

    decay = CosineDecay(kind="cosine", floor=0.1)
    warmup = PluginWarmup(kind="plugin", name="smooth", options={"power": 3}, steps=4)
    found = factors(Schedule(warmup=warmup, decay=decay), 10)
    np.testing.assert_allclose(found[:4], (np.arange(1, 5) / 4) ** 3)
    np.testing.assert_allclose(found[4:], decay_factors(decay, 4, 10)[4:])
    with pytest.raises(PluginFailed, match=r"schedule over: at step 0: got 1\.5, allowed a number from 0 to 1"):
        factors(Schedule(warmup=PluginWarmup(kind="plugin", name="over", steps=4), decay=decay), 10)


# --- a model that is another one when it is built again ---


def built_again(after, **options):
    """A task with a model that changes after it was built `after` times."""
    parts_now().BUILT.clear()
    return alone(trial(classification(15, model=model("growing", after=after, **options)), SGD, 0.05))


def parts_now():
    return sys.modules[load("models", "growing").call.__module__]


def test_a_stacked_trial_with_other_parameters_is_named():
    workload = classification(5, model=model("growing", after=2))
    parts_now().BUILT.clear()
    said = r"model growing: got 0.weight \[9, 12\] when it was called again, allowed 0.weight \[8, 12\], as at first"
    with pytest.raises(PluginFailed, match=said):
        run(pack(*(trial(workload, seed=seed(number)) for number in range(3))), BLOBS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"p": 0.5}, "model growing: got 167 parameters, allowed 149, as when its checkpoint was made"),
        (
            {"buffer": True},
            "model growing: got buffers and frozen parameters extra, allowed none, as when its checkpoint",
        ),
    ],
)
def test_a_checkpoint_of_a_model_that_has_changed_since_is_refused_with_its_name(options, said):
    task = built_again(1, **options)
    first = PackTrainer(task, BLOBS)
    first.run_chunk(7)
    state = first.state_dict()
    with pytest.raises(PluginFailed, match=said):
        PackTrainer(task, BLOBS).load_state_dict(state)

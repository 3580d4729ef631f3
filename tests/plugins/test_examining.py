"""What is found out about own parts before they train: whether they stack, and everything that is wrong with them."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from schemas.errors import SpecError
from schemas.plugins import PluginLoss, PluginModel, PluginOptimizer
from schemas.study import parse_study
from tests.plugins import parts
from tests.schemas.conftest import changed
from tests.science.conftest import classification, make_blobs
from workers.data.own import load_own
from workers.inspection.study import inspect_study
from workers.plugins import PluginFailed, use_files
from workers.science.own.examining import examine, examine_optimizer

BLOBS = make_blobs()


@pytest.fixture(autouse=True, scope="module")
def _files():
    torch.set_num_threads(1)
    use_files([Path(parts.__file__)])
    load_own.cache_clear()
    yield
    use_files([])


def found(name, *, needs_hvp=False, **options):
    workload = classification(model=PluginModel(kind="plugin", name=name, options=options))
    return examine(workload, BLOBS, needs_hvp=needs_hvp)


UNSTACKED = {
    "net": "",
    "Tied": "",
    "norm_net": "BatchNorm in norm_net",
    "drop_net": "dropout in drop_net",
    "Scaled": "buffers or frozen parameters that are drawn at random in Scaled",
    "NumpyNoise": "random numbers in NumpyNoise",
    "Moded": "another output in evaluation mode in Moded",
    "Late": "buffers that training changes in Late",
}


@pytest.mark.parametrize("name", UNSTACKED)
def test_what_vmap_cannot_do_is_said_in_words(name):
    assert found(name).unstacked == UNSTACKED[name]


def test_data_dependent_control_flow_is_what_vmap_says_of_it():
    assert found("Branching").unstacked.startswith("torch.func.vmap refuses Branching (vmap: It looks like you're")


def test_a_linear_classifier_stacks_though_its_hessian_has_a_null_space():
    assert found("linear", needs_hvp=True).unstacked == ""


def test_dropout_of_nothing_stacks():
    assert found("drop_net", p=0.0).unstacked == ""


def test_parameters_are_counted_once():
    assert found("net", width=8).num_parameters == (12 + 1) * 8 + (8 + 1) * 5
    assert found("Tied").num_parameters == 12 * 12 + 12 + 12 + 12 * 5


@pytest.mark.parametrize("name", ["Wrong", "Once"])
def test_a_second_derivative_that_is_wrong_is_found(name):
    assert re.search(f"the second derivative of {name} is not that of its gradient", found(name, needs_hvp=True).no_hvp)


@pytest.mark.parametrize("name", ["norm_net", "drop_net", "Branching"])
def test_a_second_derivative_that_is_right_is_not_refused(name):
    assert found(name, needs_hvp=True).no_hvp == ""


REFUSED = {
    "raises": r"model raises raised ValueError: no such thing \(parts.py:\d+\)",
    "leaves": r"model leaves raised SystemExit: 3 \(parts.py:\d+\)",
    "no_module": "model no_module: got int, allowed a torch.nn.Module",
    "wrong_shape": r"model wrong_shape: got outputs of shape \[8, 4\], allowed \[8, 5\]: one for each of 5 classes",
    "wrong_dtype": "model wrong_dtype: got outputs of torch.bfloat16, allowed torch.float32, as its parameters",
    "Remembering": "model Remembering: it gives other outputs for the same inputs.*allowed buffers",
    "Writing": "model Writing: it changes its inputs in place, which all trials share; allowed a copy of them",
    "Narrow": r"model Narrow: got outputs of shape \[8, 4\] in evaluation mode, allowed \[8, 5\]",
    "Pair": "model Pair: got outputs of tuple, allowed a tensor with one row for each of 8 inputs",
    "Speechless": "model Speechless raised Unprintable: its message cannot be had",
    "Counting": r"model Counting: it changes calls as it runs, which no checkpoint holds; allowed buffers",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_cannot_be_trained_is_refused_by_name(name):
    with pytest.raises(PluginFailed, match=REFUSED[name]):
        found(name)


LOSSES = {
    "counting": "loss counting: it gives another loss for the same outputs, targets and random numbers",
    "writing": "loss writing: it changes its inputs in place, which all trials share",
    "unmoved": "got a loss that does not depend on the parameters, allowed one that does",
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_remembers_or_writes_is_refused_by_name(name):
    workload = classification(loss=PluginLoss(kind="plugin", name=name))
    with pytest.raises(PluginFailed, match=LOSSES[name]):
        examine(workload, BLOBS, needs_hvp=False)


def test_a_loss_that_draws_trains_alone():
    workload = classification(loss=PluginLoss(kind="plugin", name="noisy"))
    assert examine(workload, BLOBS, needs_hvp=False).unstacked == "random numbers in noisy"


OPTIMIZERS = {
    "Casting": r"optimizer Casting: got a parameter of torch.float64 of shape \[16, 12\], allowed torch.float32 of",
    "Stubborn": "optimizer Stubborn raised ValueError: never",
    "Own": "optimizer Own: it changes its own lr; the rate is the schedule's",
    "Forgetful": "optimizer Forgetful: it goes on otherwise after its state was saved and restored",
    "LBFGS": "optimizer LBFGS raised TypeError",
}


@pytest.mark.parametrize("name", [*OPTIMIZERS, "Walk", "NAdam"])
def test_an_optimizer_is_tried_before_it_trains(name):
    spec = PluginOptimizer(kind="plugin", name=name)
    if name not in OPTIMIZERS:
        examine_optimizer(spec, classification(), BLOBS)
        return
    with pytest.raises(PluginFailed, match=OPTIMIZERS[name]):
        examine_optimizer(spec, classification(), BLOBS)


def said(tmp_path, **changes):
    with pytest.raises(SpecError) as refused:
        inspect_study(parse_study(changed(**changes)), tmp_path)
    return [str(problem) for problem in refused.value.problems]


def plugin(name, **options):
    return {"kind": "plugin", "name": name, "options": options}


PROBLEMS = {
    "unknown part": (
        {"workloads__0__model": plugin("nett")},
        "workloads[0].model.name: got 'nett', allowed a part that works here: model nett: not found",
    ),
    "unknown option": (
        {"workloads__0__model": plugin("net", widht=3)},
        "workloads[0].model.options.widht: got 3, allowed no option of this name: net takes width, inputs, classes (did"
        " you mean width?)",
    ),
    "option of another type": (
        {"workloads__0__model": plugin("net", width="wide")},
        "workloads[0].model.options.width: got 'wide', allowed an integer",
    ),
    "the rate as an option": (
        {"optimizers__0": plugin("Walk", lr=0.1)},
        "optimizers[0].options.lr: got 0.1, allowed no option of this name: the training gives lr",
    ),
    "a warmup of its own": (
        {"optimizers__0": plugin("Walk", warmup_steps=10)},
        "optimizers[0].options.warmup_steps: got 10, allowed 0, false or null: the warmup is the schedule's",
    ),
    "a data set of another form": (
        {"workloads__0__dataset": plugin("no_pairs")},
        "workloads[0].dataset: got 'plugin:no_pairs', allowed a data set: data set no_pairs: got keys train, allowed",
    ),
    "numbers for classes": (
        {"workloads__0__dataset": plugin("quadratic_line"), "workloads__0__model": plugin("net", classes=1)},
        "workloads[0]: got 'plugin', allowed parts that train: loss: got cross_entropy with targets that are numbers",
    ),
    "a loss of another shape": (
        {"workloads__0__loss": plugin("no_scalar")},
        "workloads[0]: got 'mlp', allowed parts that train: loss no_scalar: got torch.float32 of shape [8], allowed",
    ),
    "a schedule above its peak": (
        {"schedules__0__warmup": {**plugin("over"), "steps": 3}},
        "schedules[0].warmup.name: got 'over', allowed a schedule: schedule over: at step 0: got 1.5, allowed a number",
    ),
    "a schedule that draws": (
        {"schedules__0__warmup": {**plugin("at_random"), "steps": 3}},
        "schedules[0].warmup.name: got 'at_random', allowed a schedule: schedule at_random: it gave other factors when",
    ),
    "labels that are no classes": (
        {"workloads__0__dataset": plugin("account_numbers")},
        "workloads[0].dataset: got 'plugin:account_numbers', allowed a data set: data set account_numbers: y: got label"
        " 19000000000, allowed the number of a class",
    ),
    "numbers beyond float32": (
        {"workloads__0__dataset": plugin("beyond_float32")},
        "workloads[0].dataset: got 'plugin:beyond_float32', allowed a data set: data set beyond_float32: train x: got",
    ),
    "whole numbers for a net of ours": (
        {"workloads__0__dataset": plugin("whole_numbers")},
        "workloads[0]: got 'mlp', allowed parts that train: data: got x of whole numbers for model mlp, allowed real",
    ),
    "examples of nothing": (
        {"workloads__0__dataset": plugin("of_nothing")},
        "workloads[0].dataset: got 'plugin:of_nothing', allowed a data set: data set of_nothing: train: got x of shape"
        " [20, 0]",
    ),
    "curvature of what has none": (
        {
            "workloads__0__model": plugin("Once", inputs=64, classes=10),
            "probes": [{"kind": "sharpness", "every_steps": 9}],
        },
        "probes[0].kind: got 'sharpness', allowed secant_smoothness with workload digits: the second derivative of",
    ),
    "rates in units of a curvature that it has not": (
        {
            "workloads__0__model": plugin("Once", inputs=64, classes=10),
            "optimizers__0__peak_lrs": {"values": [0.5], "relative_to": {"quantity": "sharpness"}},
        },
        "optimizers[0].peak_lrs.relative_to: got sharpness, allowed nothing, rates as they are, with workload digits:",
    ),
    "mup rates": (
        {"workloads__0__model": {"kind": "mlp", "parametrization": "mup"}, "optimizers__0": plugin("NAdam")},
        "optimizers[0].kind: got 'plugin', allowed a kind of ours with workload digits, whose parametrization is mup",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_is_wrong_is_said_by_field(case, tmp_path):
    changes, start = PROBLEMS[case]
    assert [line for line in said(tmp_path, **changes) if line.startswith(start)], said(tmp_path, **changes)


def test_code_that_knows_small_batches_alone_is_refused_with_the_batch_size(tmp_path):
    fixed, sizes = plugin("Fixed", inputs=64, classes=10), {"sweep": [16, 17, 32, 2000]}
    first, second = said(tmp_path, workloads__0__model=fixed, workloads__0__batch_size=sizes)
    start = "workloads[0].batch_size: got {}, allowed a batch that its parts can read, which they can with 8 examples"
    assert first.startswith(
        start.format(17) + ": model Fixed raised RuntimeError: The size of tensor a (17) must match"
    )
    assert second.startswith(start.format(32))


def test_code_that_cannot_read_the_smallest_batches_is_refused_with_the_batch_size(tmp_path):
    norm = plugin("norm_net", inputs=64, classes=10)
    [line] = said(tmp_path, workloads__0__model=norm, workloads__0__batch_size={"sweep": [1, 2]})
    assert line.startswith("workloads[0].batch_size: got 1, allowed a batch that its parts can read")
    assert "Expected more than 1 value per channel" in line


@pytest.mark.parametrize("own", ["model", "loss"])
def test_own_parts_read_images_as_training_gives_them(own, tmp_path):
    """Normalised numbers, not the pixels that the files hold."""
    folder = tmp_path / "fashion_mnist"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8)
    for part in ("train", "test"):
        np.savez(folder / f"{part}.npz", images=pixels, labels=np.arange(60, dtype=np.uint8) % 10)
    parts_of = {
        "model": {"model": plugin("net", inputs=784, classes=10)},
        "loss": {"loss": plugin("squared"), "model": {"kind": "resnet", "depth": 8, "width": 8}},
    }
    changes = {f"workloads__0__{name}": part for name, part in parts_of[own].items()}
    document = changed(workloads__0__dataset={"kind": "fashion_mnist"}, workloads__0__batch_size=8, **changes)
    [facts] = inspect_study(parse_study(document), tmp_path).workloads.values()
    assert facts.output_size == 10


def test_whether_a_model_convolves_is_seen_however_it_does():
    assert [found(name).has_convolutions for name in ("net", "Convolving")] == [False, True]
    assert found("Convolving").unstacked == ""


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    lines = said(
        tmp_path, workloads__0__model=plugin("nett"), optimizers__0=plugin("Walk", bet=1), schedules__0__name="n"
    )
    assert [line.partition(":")[0] for line in lines] == ["workloads[0].model.name", "optimizers[0].options.bet"]


def test_a_study_learns_what_planning_needs(tmp_path):
    document = changed(workloads__0__model=plugin("net", inputs=64, classes=10, width={"sweep": [4, 8]}))
    own = inspect_study(parse_study(document), tmp_path)
    assert sorted(facts.num_parameters for facts in own.workloads.values()) == [65 * 4 + 5 * 10, 65 * 8 + 9 * 10]
    [facts] = own.plugins
    assert (facts.source.distribution, facts.source.version) == ("parts.py", "")
    study = parse_study(document).pinned(own.sources())
    assert study.resolved["plugins"] == [facts.source.model_dump()]


def test_a_study_that_states_other_code_is_refused(tmp_path):
    document = changed(workloads__0__model=plugin("net", inputs=64, classes=10))
    own = inspect_study(parse_study(document), tmp_path)
    stated = own.sources()[0].model_copy(update={"sha256": "0" * 64}).model_dump(mode="json")
    [line] = said(tmp_path, workloads__0__model=plugin("net", inputs=64, classes=10), plugins=[stated])
    assert line.startswith("plugins[0]: got model net (parts.py, sha256 000000000000), allowed what is here: model net")

"""The multi-layer perceptron against torch.nn, its starting parameters, and what mup keeps when the width grows."""

import math

import pytest
import torch

from schemas.workloads import MLP as MLPSpec
from schemas.workloads import CrossEntropy
from workers.science.parameters import Layout
from workers.science.registry import build_loss, build_model
from workers.science.streams import generator


def make_model(widths=(16, 8), inputs=6, classes=4, **fields):
    return build_model(MLPSpec(kind="mlp", widths=widths, **fields), (inputs,), classes)


def torch_twin(params, activation):
    modules = []
    for layer in range(len(params) // 2):
        weight, bias = params[f"weight_{layer}"], params[f"bias_{layer}"]
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
        linear.weight.data, linear.bias.data = weight.clone(), bias.clone()
        modules += [linear, activation()]
    return torch.nn.Sequential(*modules[:-1])


@pytest.mark.parametrize(
    ("name", "activation"),
    [("tanh", torch.nn.Tanh), ("relu", torch.nn.ReLU), ("gelu", torch.nn.GELU), ("identity", torch.nn.Identity)],
)
def test_mlp_equals_torch_linear_layers(name, activation):
    model = make_model(activation=name)
    params = model.init(generator(0, "initialization"), torch.float64)
    inputs = torch.randn(5, 6, generator=generator(0, "x"), dtype=torch.float64)
    torch.testing.assert_close(model.apply(params, inputs), torch_twin(params, activation)(inputs), rtol=1e-13, atol=0)


def test_cross_entropy_equals_torch_with_and_without_label_smoothing():
    outputs = torch.randn(9, 4, generator=generator(0, "x"), dtype=torch.float64)
    targets = torch.arange(9) % 4
    for smoothing in (0.0, 0.2):
        loss = build_loss(CrossEntropy(kind="cross_entropy", label_smoothing=smoothing))
        expected = torch.nn.functional.cross_entropy(outputs, targets, label_smoothing=smoothing)
        torch.testing.assert_close(loss(outputs, targets), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_constant_answer_is_the_least_loss_of_any_constant_output(smoothing):
    targets = torch.tensor([0, 0, 0, 1, 2, 2])
    loss = build_loss(CrossEntropy(kind="cross_entropy", label_smoothing=smoothing))
    output = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    newton = torch.optim.LBFGS([output], max_iter=100, tolerance_grad=1e-12, tolerance_change=0.0)

    def closure():
        newton.zero_grad()
        value = loss(output.expand(6, 3), targets)
        value.backward()
        return value

    newton.step(closure)
    assert loss.constant_answer(targets, 3) == pytest.approx(closure().item(), rel=1e-9)


def test_standard_weights_have_variance_one_over_fan_in_and_biases_zero():
    params = make_model(widths=(400, 300), inputs=200).init(generator(3, "initialization"), torch.float64)
    for layer, fan_in in enumerate((200, 400)):
        assert params[f"weight_{layer}"].var().item() * fan_in == pytest.approx(1.0, rel=0.03)
    assert not any(params[f"bias_{layer}"].any() for layer in range(3))


def test_initialization_is_the_same_draw_in_float32_and_float64():
    model = make_model()
    single, double = (model.init(generator(7, "initialization"), dtype) for dtype in (torch.float32, torch.float64))
    assert all(torch.equal(single[name], double[name].float()) for name in single)


def test_layout_gives_back_the_named_tensors_of_each_trial():
    model = make_model()
    trials = [model.init(generator(i, "initialization"), torch.float32) for i in range(3)]
    layout = Layout.of(trials[0])
    matrix_NP = layout.stack(trials)
    assert matrix_NP.shape == (3, layout.num_parameters)
    for params, row_P in zip(trials, matrix_NP, strict=True):
        assert all(torch.equal(params[name], view) for name, view in layout.unflatten(row_P).items())


@pytest.mark.parametrize("optimizer_kind", ["sgd", "adam", "adamw"])
def test_standard_parametrization_and_mup_agree_at_the_base_width(optimizer_kind):
    standard, mup = (make_model(widths=(64, 64), parametrization=name) for name in ("standard", "mup"))
    assert mup.lr_multipliers(optimizer_kind) == standard.lr_multipliers(optimizer_kind)
    params = mup.init(generator(0, "initialization"), torch.float64)
    inputs = torch.randn(5, 6, generator=generator(0, "x"), dtype=torch.float64)
    assert torch.equal(standard.init(generator(0, "initialization"), torch.float64)["weight_2"], params["weight_2"])
    assert torch.equal(standard.apply(params, inputs), mup.apply(params, inputs))


def change_after_updates(width, parametrization, kind, num_updates=3):
    """Root mean square change of the last hidden layer and of the outputs."""
    model = make_model(widths=(width, width), parametrization=parametrization)
    params = model.init(generator(0, "initialization"), torch.float64)
    inputs = torch.randn(32, 6, generator=generator(0, "x"), dtype=torch.float64)
    targets = torch.arange(32) % 4
    loss = build_loss(CrossEntropy(kind="cross_entropy"))
    multipliers = model.lr_multipliers(kind)
    leaves = {name: tensor.requires_grad_() for name, tensor in params.items()}
    optim = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[kind]
    base = {"sgd": 0.2, "adam": 0.01}[kind]
    optimizer = optim([{"params": [leaf], "lr": base * multipliers[name]} for name, leaf in leaves.items()])

    def read():
        with torch.no_grad():
            first = torch.tanh(inputs @ params["weight_0"].T + params["bias_0"])
            return torch.tanh(first @ params["weight_1"].T + params["bias_1"]), model.apply(params, inputs)

    before = read()
    for _ in range(num_updates):
        optimizer.zero_grad()
        loss(model.apply(params, inputs), targets).backward()
        optimizer.step()
    return [(after - earlier).square().mean().sqrt().item() for after, earlier in zip(read(), before, strict=True)]


def growth_exponent(widths, values):
    """Least-squares slope of log value over log width."""
    x, y = [math.log(width) for width in widths], [math.log(value) for value in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    products = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return products / sum((a - mean_x) ** 2 for a in x)


WIDTHS = (64, 128, 256, 512, 1024)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_mup_features_and_outputs_move_as_much_at_every_width(kind):
    hidden, outputs = zip(*(change_after_updates(width, "mup", kind) for width in WIDTHS), strict=True)
    assert abs(growth_exponent(WIDTHS, hidden)) < 0.15
    assert abs(growth_exponent(WIDTHS, outputs)) < 0.25


def test_standard_parametrization_does_not_keep_the_change_of_features():
    # the control: at one rate the features of a wide net move more and more
    for kind in ("sgd", "adam"):
        hidden = [change_after_updates(width, "standard", kind)[0] for width in WIDTHS]
        assert growth_exponent(WIDTHS, hidden) > 0.25

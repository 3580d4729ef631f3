"""A trace gives the bits of the call it was made from, and what cannot be traced runs as it is."""

import pytest
import torch

from schemas.functions import Cosh
from schemas.workloads import MLP, CrossEntropy
from workers.science import tracing
from workers.science.objective import PackObjective
from workers.science.parameters import Layout
from workers.science.protocols import Batch
from workers.science.registry import build_function, build_loss, build_model
from workers.science.streams import generator
from workers.science.tracing import Traced

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _trace_at_once(monkeypatch):
    monkeypatch.setattr(tracing, "CALLS_BEFORE_TRACING", 0)


def classifier(activation, parametrization="standard"):
    spec = MLP(kind="mlp", widths=(7, 5), activation=activation, parametrization=parametrization)
    model, loss = build_model(spec, (6,), 3), build_loss(CrossEntropy(kind="cross_entropy", label_smoothing=0.1))
    layout = Layout.of(model.init(generator(0, "layout"), torch.float32))
    return lambda params_P, x, y: loss(model.apply(layout.unflatten(params_P), x), y), layout.num_parameters


def draw(*shape):
    return torch.randn(*shape, generator=generator(0, "tracing", *shape))


def objectives(trial_loss, num_parameters):
    return [PackObjective(trial_loss, num_parameters, trace=trace) for trace in (False, True)]


def read(objective, batch, params_NP):
    vectors_NP = draw(*params_NP.shape).to(params_NP.dtype)
    for _ in range(2):  # the second call is the trace's, where there is one
        loss_N, grads_NP = objective.loss_and_grad(params_NP, batch)
        read_now = (objective.loss(params_NP, batch), loss_N, grads_NP, objective.hvp(params_NP, batch, vectors_NP))
    return read_now


ACTIVATIONS = ("tanh", "relu", "gelu", "identity")
IN_SHORT = (("tanh", True), ("relu", False), ("gelu", True), ("identity", False))


@pytest.mark.parametrize(
    ("activation", "stacked"),
    [
        pytest.param(name, stacked, marks=() if (name, stacked) in IN_SHORT else pytest.mark.proof)
        for name in ACTIVATIONS
        for stacked in (True, False)
    ],
)
def test_traced_and_direct_have_the_same_bits(activation, stacked):
    trial_loss, num_parameters = classifier(activation, "mup" if stacked else "standard")
    shape = (4, 9) if stacked else (9,)
    batch = Batch((draw(*shape, 6), torch.arange(9).expand(shape) % 3), stacked, 9)
    direct, traced = (read(o, batch, draw(4, num_parameters)) for o in objectives(trial_loss, num_parameters))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(traced, direct, strict=True))


@pytest.mark.parametrize("stacked", [True, False])
def test_products_at_one_place_have_the_bits_of_the_whole_function(stacked):
    trial_loss, num_parameters = classifier("tanh")
    shape = (4, 9) if stacked else (9,)
    batch = Batch((draw(*shape, 6), torch.arange(9).expand(shape) % 3), stacked, 9)
    direct, traced = objectives(trial_loss, num_parameters)
    traced.hvp(draw(4, num_parameters), batch, draw(4, num_parameters))
    for scale in (1.0, 2.0):
        params_NP = scale * draw(4, num_parameters)
        product = traced.hvp_at(params_NP, batch)
        for factor in (1.0, -3.0):
            vectors_NP = factor * draw(num_parameters, 4).mT.contiguous()
            assert torch.equal(product(vectors_NP), direct.hvp(params_NP, batch, vectors_NP))


def test_what_no_vector_changes_is_computed_once():
    traced = Traced(lambda x, y: (torch.tanh(x) * y,))
    traced(draw(3), draw(3))
    traced(draw(3), draw(3))
    halves = traced._halves_of((draw(3), draw(3)))
    (kept,) = halves.of_fixed(draw(3))
    assert torch.equal(kept, torch.tanh(draw(3)))
    assert torch.equal(traced.at(draw(3))(2 * draw(3))[0], torch.tanh(draw(3)) * (2 * draw(3)))


def test_another_layout_of_the_last_argument_has_kept_values_of_its_own():
    def function(x, y):
        # its trace has other operations for another layout, as torch's own have
        return (torch.tanh(x) * y,) if y.is_contiguous() else (torch.exp(x) * y,)

    traced = Traced(function)
    row, column = draw(3, 4), draw(4, 3).mT
    for last in (row, column):
        traced(draw(3, 4), last)
    at = traced.at(draw(3, 4))
    for last in (row, column, row):
        assert torch.equal(at(last)[0], function(draw(3, 4), last)[0])


def test_what_writes_into_its_own_values_may_be_asked_twice():
    def function(x, y):
        kept = torch.tanh(x)
        kept.add_(y)
        return (kept,)

    traced = Traced(function)
    for _ in range(3):
        of_last = traced.at(draw(3))
        assert torch.equal(of_last(draw(3))[0], torch.tanh(draw(3)) + draw(3))
        assert torch.equal(of_last(2 * draw(3))[0], torch.tanh(draw(3)) + 2 * draw(3))


def test_an_analytic_function_is_traced_too():
    function = build_function(Cosh(kind="cosh"))
    direct, traced = (read(o, Batch(), draw(3, 1).double()) for o in objectives(function.value, 1))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(traced, direct, strict=True))


def test_a_trace_does_not_change_its_arguments_or_remember_them():
    trial_loss, num_parameters = classifier("tanh")
    objective = PackObjective(trial_loss, num_parameters)
    for seed in range(3):
        params_NP, inputs = draw(2, num_parameters) + seed, draw(2, 9, 6) + seed
        before = params_NP.clone(), inputs.clone()
        batch = Batch((inputs, torch.arange(9).expand(2, 9) % 3), True, 9)
        loss_N, _ = objective.loss_and_grad(params_NP, batch)
        assert torch.equal(params_NP, before[0])
        assert torch.equal(inputs, before[1])
    fresh = PackObjective(trial_loss, num_parameters, trace=False)
    assert torch.equal(loss_N, fresh.loss_and_grad(params_NP, batch)[0])


def test_what_cannot_be_traced_runs_as_it_is():
    calls = []

    def function(x):
        calls.append(len(x))
        return (x * float(x.sum().item()),)  # a tracer cannot follow a number out of the tensor

    traced = Traced(function)
    outputs = [traced(torch.ones(3) * i)[0] for i in range(4)]
    assert torch.equal(outputs[-1], torch.ones(3) * 27)


def test_hessian_vector_products_equal_the_dense_hessian():
    trial_loss, num_parameters = classifier("tanh")
    params_NP, vectors_NP = draw(2, num_parameters).double(), draw(2, num_parameters).double() + 1
    batch = Batch((draw(9, 6).double(), torch.arange(9) % 3), False, 9)
    product_NP = PackObjective(trial_loss, num_parameters).hvp(params_NP, batch, vectors_NP)
    for params_P, vector_P, product_P in zip(params_NP, vectors_NP, product_NP, strict=True):
        dense_PP = torch.func.hessian(lambda at_P: trial_loss(at_P, *batch.tensors))(params_P)
        torch.testing.assert_close(product_P, dense_PP @ vector_P, rtol=1e-10, atol=1e-12)

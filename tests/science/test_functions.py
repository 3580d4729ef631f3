"""The analytic functions against their closed forms and their known curvature (design/theory.md, section 1.5)."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch.func import grad, jacrev

from schemas.functions import AnalyticFunction
from schemas.workloads import Start
from workers.science.functions import BUILDERS
from workers.science.protocols import Function, SeededFunction

SPECS = TypeAdapter(AnalyticFunction)
ALL = [
    {"kind": "quadratic", "eigenvalues": [3.0]},
    {"kind": "cosh", "k0": 2.0, "k1": 0.5},
    {"kind": "power", "p": 6},
    {"kind": "exponential"},
    {"kind": "inverse_power", "q": 2.0},
    {"kind": "logistic"},
    {"kind": "scalar_net", "depth": 3},
    {"kind": "river_valley", "eigenvalues": [0.5, 0.0]},
    {"kind": "quadratic_then_exponential"},
    {"kind": "flat_then_exponential", "h1": 4.0},
    {"kind": "two_layer_linear", "width": 3},
]
NO_GAP_START = ("river_valley", "two_layer_linear")
GAPS = [10.0**power for power in range(-8, 5)]


def build(**fields: object) -> Function:
    spec = SPECS.validate_python(fields)
    return BUILDERS[spec.kind](spec)


def hessian(value: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    return jacrev(jacrev(value))  # type: ignore[no-any-return]


def curvature(function: Function, point: torch.Tensor) -> float:
    return torch.linalg.matrix_norm(hessian(function.value)(point), ord=2).item()


def gap(function: Function, point: torch.Tensor) -> float:
    assert function.optimum is not None
    return function.value(point).item() - function.optimum


def test_every_function_of_the_spec_is_built() -> None:
    assert {fields["kind"] for fields in ALL} == set(BUILDERS)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "cosh"},
        {"kind": "cosh", "k0": 0.1, "k1": 7.0},
        {"kind": "power", "p": 4},
        {"kind": "power", "p": 10},
        {"kind": "exponential"},
        {"kind": "inverse_power", "q": 2.0},
        {"kind": "inverse_power", "q": 0.5},
    ],
)
@pytest.mark.parametrize("at_gap", GAPS)
def test_curvature_of_f1_to_f4_is_exactly_their_law(fields: dict[str, object], at_gap: float) -> None:
    function = build(**fields)
    point = function.start(Start(gap=at_gap))
    law = function.law  # type: ignore[attr-defined]
    assert curvature(function, point) / law.bound(gap(function, point)) == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize("fields", [fields for fields in ALL if fields["kind"] not in NO_GAP_START])
@pytest.mark.parametrize("at_gap", [1e-6, 0.1, 1.0, 50.0])
def test_the_start_of_a_gap_has_that_gap(fields: dict[str, object], at_gap: float) -> None:
    function = build(**fields)
    assert gap(function, function.start(Start(gap=at_gap))) == pytest.approx(at_gap, rel=1e-9)


@given(gaps=st.floats(1e-6, 1e4), which=st.sampled_from(ALL))
@settings(max_examples=100, deadline=None)
def test_no_law_is_violated(gaps: float, which: dict[str, object]) -> None:
    function = build(**which)
    law = getattr(function, "law", None)
    if law is None:
        return
    if which["kind"] == "river_valley":
        point = torch.tensor([math.log1p(gaps), 1.0, -2.0], dtype=torch.float64)
    else:
        point = function.start(Start(gap=gaps))
    assert curvature(function, point) <= law.bound(gap(function, point)) * (1 + 1e-9)


@pytest.mark.parametrize("fields", ALL, ids=[str(fields["kind"]) for fields in ALL])
@pytest.mark.parametrize("seed", range(4))
def test_every_function_knows_its_hessian_norm(fields: dict[str, object], seed: int) -> None:
    function = build(**fields)
    stream = torch.Generator().manual_seed(seed)
    point = 2.0 * torch.randn(function.num_parameters, generator=stream, dtype=torch.float64)
    point = point.abs() if fields["kind"] == "inverse_power" else point
    assert function.hessian_norm(point).item() == pytest.approx(curvature(function, point), rel=1e-10)
    both = torch.vmap(function.hessian_norm)(torch.stack((point, point)))
    assert both.tolist() == pytest.approx([function.hessian_norm(point).item()] * 2, rel=1e-12)


@pytest.mark.parametrize("width", [1, 2, 7])
def test_the_norm_of_two_layers_is_their_largest_eigenvalue(width: int) -> None:
    function = build(kind="two_layer_linear", width=width)
    assert isinstance(function, SeededFunction)
    for seed in range(5):
        point = function.draw_start(torch.Generator().manual_seed(seed)) * 10.0 ** (seed - 2)
        top = torch.linalg.eigvalsh(hessian(function.value)(point))[-1].item()
        assert function.hessian_norm(point).item() == pytest.approx(top, rel=1e-12)


def test_cosh_near_its_optimum_keeps_its_relative_precision() -> None:
    function = build(kind="cosh")
    point = function.start(Start(gap=1e-30))
    assert function.value(point).item() == pytest.approx(1e-30, rel=1e-14, abs=0)


@pytest.mark.parametrize(
    ("start_gap", "expected"), [(10, 3.088970), (100, 5.308243), (1000, 7.601902), (1e4, 9.903588)]
)
def test_cosh_starts_at_the_table_of_t3(start_gap: float, expected: float) -> None:
    point = build(kind="cosh").start(Start(gap=start_gap))
    assert point.item() == pytest.approx(expected, abs=5e-7)


def test_logistic_curvature_is_its_closed_form() -> None:
    function = build(kind="logistic")
    for at_gap in (1e-6, 0.1, math.log(2), 3.0):
        expected = math.exp(-at_gap) * -math.expm1(-at_gap)
        assert curvature(function, function.start(Start(gap=at_gap))) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("at_gap", [0.01, 1.0, 100.0])
def test_two_factors_on_the_balanced_ray_have_their_closed_form(at_gap: float) -> None:
    function = build(kind="scalar_net", depth=2)
    point = function.start(Start(gap=at_gap))
    assert curvature(function, point) == pytest.approx(2 + 3 * math.sqrt(2 * at_gap), rel=1e-10)


def test_two_factors_off_the_ray_obey_no_law() -> None:
    function = build(kind="scalar_net", depth=2)
    point = function.start(Start(point=(100.0, 0.01)))
    assert gap(function, point) == pytest.approx(0.0, abs=1e-20)
    assert curvature(function, point) == pytest.approx(1e4 + 1e-4, rel=1e-10)


def test_scalar_net_has_a_gradient_where_two_factors_are_zero() -> None:
    assert torch.equal(
        grad(build(kind="scalar_net", depth=3).value)(torch.zeros(3, dtype=torch.float64)), torch.zeros(3)
    )


@pytest.mark.parametrize("kind", ["quadratic_then_exponential", "flat_then_exponential"])
def test_pieces_join_with_equal_value_slope_and_curvature(kind: str) -> None:
    function = build(kind=kind)
    inside, outside = (torch.tensor([1.0 + side], dtype=torch.float64) for side in (-1e-9, 1e-9))
    for derivative in (function.value, grad(function.value), hessian(function.value)):
        assert torch.allclose(derivative(inside), derivative(outside), rtol=1e-7)


def test_flat_then_exponential_diverges_above_its_cap() -> None:
    """2 (log f + 1) / (h1 f) is the exact largest rate that does not move away from the optimum."""
    function = build(kind="flat_then_exponential", h1=4.0)
    point = function.start(Start(gap=100.0))
    value = function.value(point).item()
    cap = 2 * (math.log(value) + 1) / (4.0 * value)
    after = point - cap * grad(function.value)(point)
    assert after.item() == pytest.approx(-point.item(), rel=1e-12)


def test_inverse_power_is_infinite_outside_its_domain() -> None:
    function = build(kind="inverse_power", q=2.0)
    assert function.value(torch.tensor([-1.0], dtype=torch.float64)).item() == math.inf
    with pytest.raises(ValueError, match=r"start\.point: got -1\.0, allowed above 0"):
        function.start(Start(point=(-1.0,)))


def test_quadratic_with_a_negative_eigenvalue_has_no_optimum() -> None:
    assert build(kind="quadratic", eigenvalues=[1.0, -0.5]).optimum is None
    assert build(kind="quadratic", eigenvalues=[1.0, 0.0]).optimum == 0.0


def test_river_valley_starts_by_block_and_decouples() -> None:
    function = build(kind="river_valley", eigenvalues=[0.5, 0.25])
    start = Start.model_validate({"per_block": {"wall_gap": 100.0, "river": [2.0, 4.0]}})
    point = function.start(start)
    assert function.value(point).item() == pytest.approx(100.0 + 0.25 * 4 + 0.125 * 16, rel=1e-12)
    same = function.start(Start.model_validate({"per_block": {"wall_gap": 100.0, "river": 2.0}}))
    assert same[1:].tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    ("fields", "start", "message"),
    [
        ({"kind": "cosh"}, {"point": [1.0, 2.0]}, r"start\.point: got 2 coordinates, allowed 1"),
        ({"kind": "cosh"}, {"per_block": {"wall_gap": 1.0}}, r"start: got per_block, allowed gap, or point"),
        ({"kind": "quadratic", "eigenvalues": [1.0, 2.0]}, {"gap": 1.0}, r"start: got gap, allowed point with 2"),
        ({"kind": "river_valley", "eigenvalues": [1.0]}, {"gap": 1.0}, r"start: got gap, allowed per_block, or point"),
        (
            {"kind": "river_valley", "eigenvalues": [1.0]},
            {"per_block": {"wall_gap": 1.0, "river": [1.0, 2.0]}},
            r"start\.per_block\.river: got 2 coordinates, allowed 1",
        ),
    ],
)
def test_a_start_that_does_not_fit_is_refused(
    fields: dict[str, object], start: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(**fields).start(Start.model_validate(start))

"""The update rules against torch.optim, or their formula where it has none, fed the same gradients."""

import math

import pytest
import torch
from pydantic import TypeAdapter

from schemas.optimizers import Optimizer
from tests.science.reference_optimizers import reference
from workers.science.optimizers import BUILDERS, PackHyperparameters
from workers.science.parameters import Layout
from workers.science.registry import build_optimizer

STEPS = 60
LAYOUT = Layout(("weight", "bias", "kernel", "zeros"), ((6, 5), (4,), (3, 2, 2, 1), (2, 3)))
P = LAYOUT.num_parameters

# kind -> three trials of a pack, with their peak rates
PACKS = {
    "sgd": [({}, 0.1), ({"momentum": 0.9}, 0.03), ({"momentum": 0.5, "weight_decay": 0.1}, 0.2)],
    "sgd nesterov": [
        ({"momentum": 0.1, "nesterov": True}, 0.1),
        ({"momentum": 0.9, "nesterov": True}, 0.03),
        ({"momentum": 0.5, "weight_decay": 0.1, "nesterov": True}, 0.2),
    ],
    "adam": [({}, 0.01), ({"betas": (0.5, 0.9), "eps": 1e-3}, 0.1), ({"weight_decay": 0.3}, 0.03)],
    "adamw": [({}, 0.01), ({"betas": (0.0, 0.99), "weight_decay": 0.0}, 0.1), ({"weight_decay": 0.5}, 0.05)],
    "gi_adam": [({}, 0.01), ({"betas": (0.5, 0.9), "eps": 1e-3}, 0.1), ({"weight_decay": 0.3}, 0.03)],
    "radam": [({}, 0.01), ({"betas": (0.5, 0.9), "eps": 1e-3}, 0.1), ({"weight_decay": 0.3}, 0.03)],
    "radam of the paper": [
        ({"rectify_above": 4}, 0.01),
        ({"rectify_above": 4, "betas": (0.5, 0.8)}, 0.1),
        ({"rectify_above": 4, "weight_decay": 0.3}, 0.03),
    ],
    "lion": [({}, 0.01), ({"betas": (0.5, 0.9)}, 0.1), ({"weight_decay": 0.3}, 0.03)],
    # so many iterations find the largest singular value to the last digits
    "adamw_w2": [
        ({"power_iterations": 100}, 0.01),
        ({"power_iterations": 100, "betas": (0.5, 0.9), "tau": 0.1, "sigma_floor": 0.5}, 0.1),
        ({"power_iterations": 100, "weight_decay": 0.5, "tau": 0.02}, 0.05),
    ],
    "lars": [({}, 10.0), ({"trust_coefficient": 0.1, "momentum": 0.5}, 0.1), ({"weight_decay": 0.3}, 3.0)],
    "lars on vectors, too": [
        ({"adapt_on": "all"}, 10.0),
        ({"adapt_on": "all", "weight_decay": 0.1}, 3.0),
        ({"adapt_on": "all", "trust_coefficient": 1.0}, 0.01),
    ],
    "lamb": [({}, 0.01), ({"betas": (0.5, 0.9), "eps": 1e-3}, 0.1), ({"weight_decay": 0.3}, 0.03)],
    "lamb on vectors, too": [
        ({"adapt_on": "all"}, 0.01),
        ({"adapt_on": "all", "weight_decay": 0.0}, 0.1),
        ({"adapt_on": "all", "weight_decay": 0.3}, 0.03),
    ],
    "schedule_free_adamw": [
        ({}, 0.01),
        ({"betas": (0.0, 0.9), "r": 1.0, "weight_lr_power": 0.0}, 0.1),
        ({"weight_decay": 0.3, "weight_lr_power": 1.0}, 0.03),
    ],
}
DECAYS = [
    {"decay_on": "matrices", "weight_decay": 0.1},
    {"couple_to_lr": False, "weight_decay": 0.02},
    {"couple_to_lr": False, "decay_on": "matrices", "weight_decay": 0.02},
]
TOLERANCES = [(torch.float64, 1e-12), (torch.float32, 1e-6)]


def make_spec(kind, **fields):
    return TypeAdapter(Optimizer).validate_python({"kind": kind, **fields})


def pack(name):
    specs, peaks = zip(*[(make_spec(name.split()[0], **fields), peak) for fields, peak in PACKS[name]], strict=True)
    return specs, peaks


def build(specs, dtype=torch.float64, multiplier_P=None):
    return build_optimizer(specs[0].kind, PackHyperparameters(specs, dtype, torch.device("cpu"), multiplier_P, LAYOUT))


def start(dtype=torch.float64, n=3):
    start_NP = torch.randn(n, P, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    start_NP[:, -6:] = 0.0
    return start_NP.to(dtype)


def gradients(dtype, steps=STEPS, n=3):
    # over nine orders of magnitude between parameters, some exactly zero
    generator = torch.Generator().manual_seed(0)
    scale_P = torch.logspace(-8, 1, P, dtype=torch.float64)
    scale_P[::7] = 0
    return (torch.randn(steps, n, P, generator=generator, dtype=torch.float64) * scale_P).to(dtype)


def rates(peaks):
    """[N] of each step: a warmup."""
    for step in range(STEPS):
        yield torch.tensor(peaks, dtype=torch.float64) * (step + 1) / STEPS


def train(optimizer, params_NP, grads_SNP, peaks):
    """The parameters and the state after all gradients."""
    params_NP, out_NP = params_NP.clone(), torch.empty_like(params_NP)
    state = optimizer.init(params_NP)
    for grads_NP, lr_N in zip(grads_SNP, rates(peaks), strict=False):
        state["lr"].copy_(lr_N)
        optimizer.update(grads_NP.clone(), state, params_NP, optimizer.coefficients(state), out_NP)
        params_NP += out_NP
    return params_NP, state


def train_references(specs, params_NP, grads_SNP, peaks):
    """The same with one reference per trial: where gradients are taken and where to evaluate."""
    ends = []
    for slot, spec in enumerate(specs):
        named = LAYOUT.unflatten(params_NP[slot].clone())
        one = reference(spec, [tensor.clone() for tensor in named.values()])
        for grads_NP, lr_N in zip(grads_SNP, rates(peaks), strict=False):
            one.step(list(LAYOUT.unflatten(grads_NP[slot]).values()), lr_N[slot].item())
        ends.append([torch.cat([p.flatten() for p in point]) for point in (one.params, one.evaluation_point())])
    return [torch.stack(points) for points in zip(*ends, strict=True)]


def assert_close(ours_NP, theirs_NP, tolerance):
    error_N = (ours_NP - theirs_NP).norm(dim=1) / theirs_NP.norm(dim=1)
    assert error_N.max().item() <= tolerance


def test_every_kind_has_a_reference():
    assert {name.split()[0] for name in PACKS} == set(BUILDERS)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
@pytest.mark.parametrize("name", PACKS)
def test_update_equals_its_reference_on_the_same_gradients(name, dtype, tolerance):
    specs, peaks = pack(name)
    optimizer, grads_SNP = build(specs, dtype), gradients(dtype, 15 if name == "adamw_w2" else STEPS)
    params_NP, state = train(optimizer, start(dtype), grads_SNP, peaks)
    expected_NP, evaluated_NP = train_references(specs, start(dtype), grads_SNP, peaks)
    assert_close(params_NP, expected_NP, tolerance)
    assert_close(optimizer.evaluation_point(state, params_NP), evaluated_NP, tolerance)


@pytest.mark.parametrize("fields", DECAYS, ids=str)
@pytest.mark.parametrize("kind", BUILDERS)
def test_decay_of_matrices_and_apart_from_the_rate_equal_their_reference(kind, fields):
    specs, peaks = [make_spec(kind, **fields)], [0.01]
    params_NP, _ = train(build(specs), start(n=1), gradients(torch.float64, n=1), peaks)
    expected_NP, _ = train_references(specs, start(n=1), gradients(torch.float64, n=1), peaks)
    assert_close(params_NP, expected_NP, 1e-3 if kind == "adamw_w2" else 1e-12)
    plain, _ = train(build([make_spec(kind, weight_decay=0.0)]), start(n=1), gradients(torch.float64, n=1), peaks)
    of_bias = LAYOUT.names.index("bias")
    moved = [
        (a - b).abs().max().item()
        for a, b in zip(params_NP[0].split(LAYOUT.sizes), plain[0].split(LAYOUT.sizes), strict=True)
    ]
    assert moved[0] > 0
    assert (moved[of_bias] > 0) == (fields.get("decay_on") != "matrices")


@pytest.mark.parametrize("kind", BUILDERS)
def test_decay_apart_from_the_rate_shrinks_by_its_share_whatever_the_rate(kind):
    optimizer, params_NP = build([make_spec(kind, weight_decay=0.25, couple_to_lr=False)]), start(n=1)
    state, out_NP = optimizer.init(params_NP), torch.empty_like(params_NP)
    optimizer.update(torch.ones_like(params_NP), state, params_NP, optimizer.coefficients(state), out_NP)
    share = 0.25 * (1 - 0.9) if kind == "schedule_free_adamw" else 0.25  # z shrinks; x waits for a rate above 0
    torch.testing.assert_close(out_NP, -share * params_NP)


@pytest.mark.parametrize("name", PACKS)
def test_update_on_some_rows_has_the_bits_of_the_whole_update(name):
    specs, peaks = pack(name)
    optimizer = build(specs, torch.float32)
    params_NP, grads_NP = start(torch.float32), gradients(torch.float32)[0]
    whole, parts = torch.empty_like(params_NP), torch.empty_like(params_NP)
    for out_NP, blocks in ((whole, [slice(0, 3)]), (parts, [slice(0, 1), slice(1, 3)])):
        state = optimizer.init(params_NP)
        state["lr"].copy_(torch.tensor(peaks))
        coefficients = optimizer.coefficients(state)
        for rows in blocks:
            mine = {name: tensor[rows] for name, tensor in state.items()}
            columns = [column[rows] for column in coefficients]
            optimizer.update(grads_NP[rows].clone(), mine, params_NP[rows], columns, out_NP[rows])
    assert torch.equal(whole, parts)


@pytest.mark.parametrize("kind", BUILDERS)
def test_a_factor_on_every_parameters_rate_is_a_factor_on_the_rate(kind):
    specs = [make_spec(kind, weight_decay=0.1)]
    half_P = torch.full((P,), 0.5, dtype=torch.float64)
    scaled_NP, _ = train(build(specs, multiplier_P=half_P), start(n=1), gradients(torch.float64, n=1), [0.02])
    expected_NP, _ = train(build(specs), start(n=1), gradients(torch.float64, n=1), [0.01])
    torch.testing.assert_close(scaled_NP, expected_NP, rtol=1e-9, atol=1e-12)


# --- what the papers say of each ---


def constant_gradient_updates(kind, wanted):
    """The size of update t of a constant gradient of 1 at rate 1, for the wanted t."""
    optimizer, params_NP = build([make_spec(kind, eps=1e-30)]), torch.zeros(1, P, dtype=torch.float64)
    state, out_NP, found = optimizer.init(params_NP), torch.empty_like(params_NP), {}
    state["lr"].fill_(1.0)
    for t in [*range(1, 1001), *(t for t in wanted if t > 1000)]:
        state["step"].fill_(t - 1)  # by 1,000 the moments stand still: no need to go all the way
        optimizer.update(torch.ones_like(params_NP), state, params_NP, optimizer.coefficients(state), out_NP)
        found[t] = -out_NP[0, 0].item()
    return {t: found[t] for t in wanted}


def test_gi_adam_warms_up_by_itself_as_the_paper_says():
    row = {1: 0.03162, 2: 0.04471, 10: 0.09978, 100: 0.30856, 1000: 0.79518, 5000: 0.99663}
    assert constant_gradient_updates("gi_adam", row) == pytest.approx(row, abs=1e-4)
    assert constant_gradient_updates("adam", [1, 2, 100]) == pytest.approx({1: 1.0, 2: 1.0, 100: 1.0})


def test_gi_adam_whose_first_gradient_is_zero_is_adam_bit_for_bit():
    grads_SNP = gradients(torch.float32, n=1)
    for first, is_same in ((torch.zeros(1, P), True), (grads_SNP[0].clone(), False)):
        grads_SNP[0] = first
        ours, theirs = (
            train(build([make_spec(kind)], torch.float32), start(torch.float32, 1), grads_SNP, [0.1])[0]
            for kind in ("gi_adam", "adam")
        )
        assert torch.equal(ours, theirs) == is_same


def test_gi_adam_lowers_the_first_preconditioned_sharpness_by_the_root_of_one_minus_beta2():
    first = []
    for kind in ("adam", "gi_adam"):
        optimizer = build([make_spec(kind, eps=1e-30)])
        _, state = train(optimizer, start(n=1), torch.ones(1, 1, P, dtype=torch.float64), [0.1])
        first.append(optimizer.preconditioner(state))
    torch.testing.assert_close(first[0] / first[1], torch.full_like(first[0], math.sqrt(1e-3)))


@pytest.mark.parametrize("tau", [1e300, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adamw_w2_without_a_bound_is_adamw_bit_for_bit(dtype, tau):
    free = make_spec("adamw_w2", weight_decay=0.1).model_copy(update={"tau": tau})
    ours, theirs = (
        train(build([spec], dtype), start(dtype, 1), gradients(dtype, n=1), [0.1])[0]
        for spec in (free, make_spec("adamw", weight_decay=0.1))
    )
    assert torch.equal(ours, theirs)


def spectral_norms(params_P):
    named = LAYOUT.unflatten(params_P)
    return {name: torch.linalg.matrix_norm(t.flatten(1), 2).item() for name, t in named.items() if t.dim() >= 2}


@pytest.mark.parametrize("is_aligned", [False, True])
def test_adamw_w2_lets_no_matrix_grow_by_more_than_its_share(is_aligned):
    tau, floor = 0.05, 0.3
    optimizer = build([make_spec("adamw_w2", weight_decay=0.0, tau=tau, sigma_floor=floor)])
    params_NP, grads_SNP = start(n=1), gradients(torch.float64, n=1)
    if is_aligned:  # matrices of rank one, and updates along them: Weyl's inequality is tight
        params_NP = 0.1 * (params_NP != 0).double()
        grads_SNP = -torch.ones(STEPS, 1, P, dtype=torch.float64)
    state, out_NP, largest = optimizer.init(params_NP), torch.empty_like(params_NP), 0.0
    state["lr"].fill_(10.0)
    for grads_NP in grads_SNP:
        before = spectral_norms(params_NP[0])
        optimizer.update(grads_NP.clone(), state, params_NP, optimizer.coefficients(state), out_NP)
        params_NP += out_NP
        for name, after in spectral_norms(params_NP[0]).items():
            allowed = before[name] + tau * (1 + 1e-6) * max(before[name], floor)
            assert after <= allowed
            largest = max(largest, (after - before[name]) / max(before[name], floor))
    assert largest > (0.999 if is_aligned else 0.3) * tau
    # the matrix of zeros moves
    assert spectral_norms(params_NP[0])["zeros"] > tau * floor
    # vectors keep AdamW, at the full rate
    assert params_NP[0].split(LAYOUT.sizes)[1].abs().max() > 1.0


def test_adamw_w2_says_what_rate_it_applied():
    spec = make_spec("adamw_w2", tau=0.01, power_iterations=50)
    optimizer, params_NP = build([spec]), start(n=1)
    state, out_NP = optimizer.init(params_NP), torch.empty_like(params_NP)
    state["lr"].fill_(0.5)
    grads_NP = torch.randn(1, P, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    optimizer.update(grads_NP.clone(), state, params_NP, optimizer.coefficients(state), out_NP)
    for number, name in enumerate(("weight", "kernel")):
        weights, direction = (LAYOUT.unflatten(x[0])[name].flatten(1) for x in (params_NP, torch.sign(grads_NP)))
        ratio = torch.linalg.matrix_norm(weights, 2) / torch.linalg.matrix_norm(direction, 2)
        assert state["bound"][0, number].item() == pytest.approx(min(1.0, 0.01 * ratio.item() / 0.5), rel=1e-6)


def test_schedule_free_waits_for_the_first_rate_above_zero():
    optimizer, params_NP = build([make_spec("schedule_free_adamw")]), start(n=1)
    state, out_NP = optimizer.init(params_NP), torch.empty_like(params_NP)
    optimizer.update(torch.ones_like(params_NP), state, params_NP, optimizer.coefficients(state), out_NP)
    torch.testing.assert_close(out_NP, torch.zeros_like(out_NP), rtol=0, atol=1e-15)
    assert torch.equal(optimizer.evaluation_point(state, params_NP), params_NP)


# --- preconditioners and thresholds ---


def test_adam_preconditioner_of_a_constant_gradient_is_its_size_times_the_first_bias_correction():
    optimizer = build([make_spec("adam")])
    grads_NP = torch.linspace(1, 9, P, dtype=torch.float64).unsqueeze(0)
    _, state = train(optimizer, start(n=1), grads_NP.unsqueeze(0), [0.1])
    torch.testing.assert_close(optimizer.preconditioner(state), 0.1 * (grads_NP + 1e-8), rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", ["adam", "adamw", "gi_adam", "radam", "adamw_w2", "lars", "lamb"])
@pytest.mark.parametrize("steps", [1, 9])
def test_an_update_is_the_momentum_over_the_preconditioner_times_the_rate(kind, steps):
    # on a constant gradient momentum and gradient are one but for their bias: (1 - beta1^t) g, or for lars their sum
    optimizer, params_NP = build([make_spec(kind, weight_decay=0.0)]), start(n=1) + 3.0
    grads_NP = torch.linspace(1, 9, P, dtype=torch.float64).unsqueeze(0)
    state, out_NP = optimizer.init(params_NP), torch.empty_like(params_NP)
    state["lr"].fill_(0.01)
    for _ in range(steps):
        optimizer.update(grads_NP.clone(), state, params_NP, optimizer.coefficients(state), out_NP)
    momentum = (1 - 0.9**steps) * (10.0 if kind == "lars" else 1.0)
    expected_NP = -0.01 * momentum * grads_NP / optimizer.preconditioner(state)
    torch.testing.assert_close(out_NP, expected_NP, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "sgd"},
        {"kind": "sgd", "momentum": 0.9},
        {"kind": "sgd", "momentum": 0.9, "nesterov": True},
        {"kind": "sgd", "momentum": 0.3, "nesterov": True},
        # with so large an eps the preconditioner is eps
        {"kind": "adam", "eps": 1e9, "betas": (0.9, 0.99)},
        {"kind": "schedule_free_adamw", "eps": 1e9, "betas": (0.9, 0.99)},
        {"kind": "schedule_free_adamw", "eps": 1e9, "betas": (0.5, 0.99)},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())),
)
def test_a_quadratic_converges_just_below_the_threshold_and_diverges_just_above(fields):
    scale = fields.get("eps", 1.0)
    optimizer, lr = build([make_spec(**fields)]), 0.1
    threshold = optimizer.stability_threshold(torch.tensor([lr], dtype=torch.float64)).item()
    for sharpness, converges in ((0.97 * threshold, True), (1.03 * threshold, False)):
        params_NP = torch.full((1, P), 1e-30, dtype=torch.float64)
        state, out_NP, sizes = optimizer.init(params_NP), torch.empty_like(params_NP), [1e-30]
        state["lr"].fill_(lr)
        while len(sizes) < 1200 and sizes[-1] < 1e-9:
            optimizer.update(scale * sharpness * params_NP, state, params_NP, optimizer.coefficients(state), out_NP)
            params_NP += out_NP
            sizes.append(params_NP.abs().max().item())
        assert (max(sizes[-100:]) < 0.5 * max(sizes)) == converges


def test_adam_stability_threshold_at_the_usual_betas_is_38_over_the_rate():
    for kind in ("adam", "adamw", "gi_adam", "radam", "adamw_w2", "lamb"):
        assert build([make_spec(kind)]).stability_threshold(torch.tensor([0.5])).item() == pytest.approx(76.0)


def test_lion_has_neither_a_preconditioner_nor_a_threshold():
    optimizer = build([make_spec("lion")])
    assert optimizer.preconditioner(optimizer.init(start(n=1))) is None
    assert optimizer.stability_threshold(torch.tensor([0.5])).isnan().all()

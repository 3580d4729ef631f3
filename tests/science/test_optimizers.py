"""The update rules against torch.optim, fed the same gradients."""

import pytest
import torch

from schemas.optimizers import SGD, Adam, AdamW
from workers.science.optimizers import PackHyperparameters
from workers.science.registry import build_optimizer

P, STEPS = 37, 60

PACKS = {
    "sgd": [
        (SGD(kind="sgd"), 0.1),
        (SGD(kind="sgd", momentum=0.9), 0.03),
        (SGD(kind="sgd", momentum=0.5, weight_decay=0.1), 0.2),
    ],
    "adam": [
        (Adam(kind="adam"), 0.01),
        (Adam(kind="adam", betas=(0.5, 0.9), eps=1e-3), 0.1),
        (Adam(kind="adam", weight_decay=0.3), 0.03),
    ],
    "adamw": [
        (AdamW(kind="adamw"), 0.01),
        (AdamW(kind="adamw", betas=(0.0, 0.99), weight_decay=0.0), 0.1),
        (AdamW(kind="adamw", weight_decay=0.5), 0.05),
    ],
}


def torch_optimizer(spec, params, lr):
    if spec.kind == "sgd":
        return torch.optim.SGD([params], lr, momentum=spec.momentum, weight_decay=spec.weight_decay, foreach=False)
    kind = torch.optim.Adam if spec.kind == "adam" else torch.optim.AdamW
    return kind([params], lr, betas=spec.betas, eps=spec.eps, weight_decay=spec.weight_decay, foreach=False)


def gradients(dtype):
    # over nine orders of magnitude between parameters, some exactly zero
    generator = torch.Generator().manual_seed(0)
    scale_P = torch.logspace(-8, 1, P, dtype=torch.float64)
    scale_P[::7] = 0
    return (torch.randn(STEPS, 3, P, generator=generator, dtype=torch.float64) * scale_P).to(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("kind", PACKS)
def test_update_equals_torch_optim_on_the_same_gradients(kind, dtype, tolerance):
    specs, peaks = zip(*PACKS[kind], strict=True)
    start_NP = torch.randn(3, P, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    optimizer = build_optimizer(kind, PackHyperparameters(specs, dtype, torch.device("cpu")))
    params_NP, out_NP = start_NP.clone(), torch.empty_like(start_NP)
    state = optimizer.init(params_NP)
    references = [start_NP[slot].clone().requires_grad_() for slot in range(3)]
    references_optim = [torch_optimizer(*args) for args in zip(specs, references, peaks, strict=True)]
    for step, grads_NP in enumerate(gradients(dtype)):
        lr_N = torch.tensor(peaks, dtype=torch.float64) * (step + 1) / STEPS
        state["lr"].copy_(lr_N)
        optimizer.update(grads_NP.clone(), state, params_NP, optimizer.coefficients(state), out_NP)
        params_NP += out_NP
        for slot, (reference, optim) in enumerate(zip(references, references_optim, strict=True)):
            reference.grad = grads_NP[slot].clone()
            optim.param_groups[0]["lr"] = lr_N[slot].item()
            optim.step()
    expected_NP = torch.stack([reference.detach() for reference in references])
    error_N = (params_NP - expected_NP).norm(dim=1) / expected_NP.norm(dim=1)
    assert error_N.max().item() <= tolerance


@pytest.mark.parametrize("kind", PACKS)
def test_update_on_some_rows_has_the_bits_of_the_whole_update(kind):
    specs, peaks = zip(*PACKS[kind], strict=True)
    optimizer = build_optimizer(kind, PackHyperparameters(specs, torch.float32, torch.device("cpu")))
    params_NP, grads_NP = gradients(torch.float32)[:2]
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


def test_adam_preconditioner_of_a_constant_gradient_is_its_size_times_the_first_bias_correction():
    optimizer = build_optimizer("adam", PackHyperparameters([Adam(kind="adam")], torch.float64, torch.device("cpu")))
    params_NP, grads_NP = torch.zeros(1, 3, dtype=torch.float64), torch.tensor([[2.0, 3.0, 5.0]], dtype=torch.float64)
    state = optimizer.init(params_NP)
    optimizer.update(grads_NP.clone(), state, params_NP, optimizer.coefficients(state), torch.empty_like(params_NP))
    torch.testing.assert_close(optimizer.preconditioner(state), 0.1 * (grads_NP + 1e-8), rtol=1e-12, atol=0)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_converges_just_below_its_stability_threshold_and_diverges_just_above(momentum):
    lr = 0.1
    sgd = SGD(kind="sgd", momentum=momentum)
    optimizer = build_optimizer("sgd", PackHyperparameters([sgd], torch.float64, torch.device("cpu")))
    threshold = optimizer.stability_threshold(torch.tensor([lr], dtype=torch.float64)).item()
    for sharpness, converges in ((0.99 * threshold, True), (1.01 * threshold, False)):
        params_NP, out_NP = torch.ones(1, 1, dtype=torch.float64), torch.empty(1, 1, dtype=torch.float64)
        state = optimizer.init(params_NP)
        state["lr"].fill_(lr)
        for _ in range(4000):
            optimizer.update(sharpness * params_NP, state, params_NP, optimizer.coefficients(state), out_NP)
            params_NP += out_NP
        assert (params_NP.abs().item() < 1) == converges


def test_adam_stability_threshold_at_the_usual_betas_is_38_over_the_rate():
    optimizer = build_optimizer("adam", PackHyperparameters([Adam(kind="adam")], torch.float64, torch.device("cpu")))
    assert optimizer.stability_threshold(torch.tensor([0.5])).item() == pytest.approx(76.0)

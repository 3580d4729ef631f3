"""The nets for images against torch.nn and dense Hessians at a size where both are cheap, and what they cost."""

import pytest
import torch
from torch import nn

from schemas.probes import Sharpness
from schemas.workloads import MSE, CrossEntropy, ResNet, ViT
from workers.planning.networks import counts
from workers.science import tracing
from workers.science.objective import PackObjective
from workers.science.parameters import Layout
from workers.science.probes.sharpness import SharpnessProbe
from workers.science.protocols import Batch, ProbeRequest
from workers.science.registry import build_loss, build_model
from workers.science.streams import generator

IMAGE, CLASSES = (2, 6, 6), 3
SMALL = {
    "resnet": ResNet(kind="resnet", depth=6, stages=2, width=4, groups=2),
    "vit": ViT(kind="vit", patch=2, depth=2, width=4, heads=2),
}
TINY = {
    "resnet": ResNet(kind="resnet", depth=6, stages=2, width=2, groups=1),
    "vit": ViT(kind="vit", patch=3, depth=1, width=4, heads=2),
}
LOSSES = {"cross_entropy": CrossEntropy(kind="cross_entropy", label_smoothing=0.1), "mse": MSE(kind="mse")}


class TorchBlock(nn.Module):
    def __init__(self, fan_in, fan_out, stride, groups):
        super().__init__()
        self.first = nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False)
        self.first_norm = nn.GroupNorm(groups, fan_out)
        self.second = nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False)
        self.second_norm = nn.GroupNorm(groups, fan_out)
        self.shortcut = nn.Identity()
        if fan_in != fan_out:
            conv = nn.Conv2d(fan_in, fan_out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.GroupNorm(groups, fan_out))

    def forward(self, x):
        hidden = self.second_norm(self.second(torch.relu(self.first_norm(self.first(x)))))
        return torch.relu(hidden + self.shortcut(x))


def torch_resnet(spec):
    stem = [nn.Conv2d(IMAGE[0], spec.width, 3, 1, 1, bias=False), nn.GroupNorm(spec.groups, spec.width), nn.ReLU()]
    blocks = [
        TorchBlock(spec.width, spec.width, 1, spec.groups),
        TorchBlock(spec.width, 2 * spec.width, 2, spec.groups),
    ]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * spec.width, CLASSES)]
    return nn.Sequential(*stem, *blocks, *head).double()


class TorchViT(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.embed = nn.Conv2d(IMAGE[0], spec.width, spec.patch, spec.patch)
        self.positions = nn.Parameter(torch.zeros((IMAGE[1] // spec.patch) ** 2, spec.width))
        layer = {"dim_feedforward": 4 * spec.width, "dropout": 0.0, "activation": "gelu"}
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(spec.width, spec.heads, **layer, batch_first=True, norm_first=True)
            for _ in range(spec.depth)
        )
        self.norm = nn.LayerNorm(spec.width)
        self.head = nn.Linear(spec.width, CLASSES)

    def forward(self, x):
        hidden = self.embed(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(self.norm(hidden).mean(1))


TORCH_NAMES = {
    "self_attn.out_proj.": "mix_", "norm1.weight": "attention_norm_scale", "norm1.bias": "attention_norm_shift",
    "norm2.weight": "network_norm_scale", "norm2.bias": "network_norm_shift",
    "linear1.": "wide_", "linear2.": "narrow_", "norm.weight": "norm_scale", "norm.bias": "norm_shift",
    "blocks.": "block_", "embed.": "embed_", "head.": "head_",
}  # fmt: skip


def of_torch_vit(params, name, like):
    """The tensor that torch calls `name`, from ours."""
    if "in_proj" in name:
        block, part = name.split(".")[1], name.rpartition("_")[2]
        return torch.cat([params[f"block_{block}_{one}_{part}"] for one in ("query", "key", "value")])
    for theirs, ours in TORCH_NAMES.items():
        name = name.replace(theirs, ours)
    return params[name.replace(".", "_")].view(like.shape)


def twin(kind, params):
    """The same net in torch.nn, and a function from our named tensors to its parameters' list."""
    if kind == "resnet":
        module = torch_resnet(SMALL[kind])
        return module, lambda named: list(named.values())
    module = TorchViT(SMALL[kind]).double()
    return module, lambda named: [of_torch_vit(named, name, like) for name, like in module.named_parameters()]


def batch(num_trials, size=5, image=IMAGE):
    stream = generator(0, "test")
    inputs = torch.randn(num_trials, size, *image, generator=stream, dtype=torch.float64)
    return Batch((inputs, torch.randint(CLASSES, (num_trials, size), generator=stream)), stacked=True, size=size)


def problem(spec, loss_spec, num_trials=2):
    """Objective, loss of one trial, and the parameters [N, P] of as many starts, a little off them."""
    model, loss = build_model(spec, IMAGE, CLASSES), build_loss(loss_spec)
    starts = [model.init(generator(seed, "initialization"), torch.float64) for seed in range(num_trials)]
    layout = Layout.of(starts[0])

    def trial_loss(params_P, inputs, targets):
        return loss(model.apply(layout.unflatten(params_P), inputs), targets)

    params_NP = layout.stack(starts)  # moved, so that no bias is 0 and no scale 1
    params_NP = params_NP + 0.1 * torch.randn(params_NP.shape, generator=generator(0, "move"), dtype=torch.float64)
    return PackObjective(trial_loss, layout.num_parameters), trial_loss, params_NP, layout


@pytest.mark.parametrize("kind", SMALL)
def test_outputs_and_gradients_equal_those_of_torch_nn(kind):
    objective, _, params_NP, layout = problem(SMALL[kind], LOSSES["cross_entropy"])
    examples = batch(2)
    loss_N, grads_NP = objective.loss_and_grad(params_NP, examples)
    for trial in range(2):
        params = layout.unflatten(params_NP[trial])
        module, in_their_order = twin(kind, params)
        with torch.no_grad():
            for theirs, ours in zip(module.parameters(), in_their_order(params), strict=True):
                theirs.copy_(ours)
        inputs, targets = (tensor[trial] for tensor in examples.tensors)
        outputs = module(inputs)
        torch.testing.assert_close(build_model(SMALL[kind], IMAGE, CLASSES).apply(params, inputs), outputs)
        loss = nn.functional.cross_entropy(outputs, targets, label_smoothing=0.1)
        loss.backward()
        torch.testing.assert_close(loss_N[trial], loss.detach(), rtol=1e-12, atol=0)
        ours = in_their_order(layout.unflatten(grads_NP[trial]))
        for theirs, mine in zip(module.parameters(), ours, strict=True):
            torch.testing.assert_close(mine, theirs.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", TINY)
def test_sharpness_and_hvps_equal_those_of_the_dense_hessian(kind, loss):
    objective, trial_loss, params_NP, layout = problem(TINY[kind], LOSSES[loss])
    examples = batch(1)
    shared = Batch(tuple(tensor[0] for tensor in examples.tensors), size=5)
    vectors_NP = torch.randn(params_NP.shape, generator=generator(0, "v"), dtype=torch.float64)
    # reverse over reverse: another way than the one that is tested
    dense_NPP = [torch.func.jacrev(torch.func.grad(trial_loss))(params_P, *shared.tensors) for params_P in params_NP]
    products_NP = objective.hvp(params_NP, shared, vectors_NP)
    for dense_PP, vector_P, product_P in zip(dense_NPP, vectors_NP, products_NP, strict=True):
        torch.testing.assert_close(product_P, dense_PP @ vector_P, rtol=1e-9, atol=1e-11)
    probe = SharpnessProbe(Sharpness(kind="sharpness", every_steps=1, relative_tolerance=1e-6, max_hvps=200))
    request = ProbeRequest(
        objective, (shared,), params_NP, None, torch.ones(2, dtype=torch.float64), torch.full((2,), 1000),
        torch.zeros(2, dtype=torch.int64), torch.tensor([True, True]), 0,
    )  # fmt: skip
    reading, _ = probe.measure(request, probe.init(2, layout.num_parameters, torch.float64, torch.device("cpu")))
    true_N = torch.stack([torch.linalg.eigvalsh(dense_PP)[-1] for dense_PP in dense_NPP])
    torch.testing.assert_close(reading.value, true_N, rtol=1e-4, atol=0)


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.parametrize("kind", TINY)
def test_a_trace_has_the_bits_of_the_direct_call(kind, monkeypatch):
    monkeypatch.setattr(tracing, "CALLS_BEFORE_TRACING", 0)
    objective, trial_loss, params_NP, _ = problem(TINY[kind], LOSSES["cross_entropy"])
    examples, params_NP = batch(2), params_NP.float()
    examples = Batch((examples.tensors[0].float(), examples.tensors[1]), True, 5)
    direct = PackObjective(trial_loss, objective.num_parameters, trace=False)
    for _ in range(2):
        traced = (*objective.loss_and_grad(params_NP, examples), objective.hvp(params_NP, examples, params_NP))
    plain = (*direct.loss_and_grad(params_NP, examples), direct.hvp(params_NP, examples, params_NP))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(traced, plain, strict=True))


RESNET_18 = ResNet(kind="resnet", depth=18, stages=4, width=64)
SIZES = {
    # torchvision's ResNet-18 with a 3x3 stem and ten classes; ResNet-20 with convolutions in its two shortcuts
    "ResNet-18 at CIFAR's size": (RESNET_18, (3, 32, 32), 10, 11_173_962),
    "ResNet-20": (ResNet(kind="resnet", depth=20, width=16), (3, 32, 32), 10, 272_474),
    "the tiniest": (ResNet(kind="resnet", depth=4, stages=1, width=1, groups=1), (64,), 10, None),
    "ViT on digits": (ViT(kind="vit", patch=4, depth=3, width=8, heads=4), (64,), 10, None),
    "ViT on CIFAR": (ViT(kind="vit"), (3, 32, 32), 10, None),
    "small resnet": (SMALL["resnet"], IMAGE, CLASSES, None),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_plan_counts_the_parameters_that_the_net_has(name):
    spec, shape, num_classes, known = SIZES[name]
    model = build_model(spec, shape, num_classes)
    params = model.init(generator(0, "initialization"), torch.float32)
    assert Layout.of(params).num_parameters == counts(spec, shape, num_classes).parameters
    assert known in (None, counts(spec, shape, num_classes).parameters)
    assert model.lr_multipliers("sgd") == dict.fromkeys(params, 1.0)


@pytest.mark.parametrize("shape", [(64,), (1, 8, 8), (3, 8, 8)])
@pytest.mark.parametrize("spec", [SMALL["resnet"], ViT(kind="vit", patch=4, depth=1, width=4, heads=1)])
def test_outputs_have_a_row_per_image_and_a_column_per_class(spec, shape):
    model = build_model(spec, shape, 7)
    params = model.init(generator(0, "initialization"), torch.float32)
    assert model.apply(params, torch.zeros(5, *shape)).shape == (5, 7)


@pytest.mark.parametrize("kind", SMALL)
def test_a_start_is_the_same_draw_in_every_precision_with_the_stated_variances(kind):
    spec = {"resnet": RESNET_18, "vit": ViT(kind="vit", width=128)}[kind]
    model = build_model(spec, (3, 32, 32), 10)
    single, double = (model.init(generator(7, "initialization"), dtype) for dtype in (torch.float32, torch.float64))
    assert all(torch.equal(single[name], double[name].float()) for name in single)
    gain = 2.0 if kind == "resnet" else 1.0
    for name, tensor in double.items():
        if name.endswith("_weight") and tensor.numel() > 10_000:
            assert tensor.var().item() * tensor[0].numel() == pytest.approx(gain, rel=0.05), name


def test_examples_that_are_no_image_are_refused():
    for spec in SMALL.values():
        with pytest.raises(ValueError, match=r"its examples are \[12\]"):
            build_model(spec, (12,), 3)


def test_mse_is_half_of_torch_s_and_its_constant_answer_is_the_least():
    loss = build_loss(MSE(kind="mse"))
    outputs = torch.randn(9, 3, generator=generator(0, "x"), dtype=torch.float64)
    targets = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2])
    one_hot = nn.functional.one_hot(targets, 3).double()
    torch.testing.assert_close(loss(outputs, targets), nn.functional.mse_loss(outputs, one_hot) / 2)
    best = loss(one_hot.mean(0).expand(9, 3), targets).item()
    assert loss.constant_answer(targets, 3) == pytest.approx(best, rel=1e-12)
    assert best < loss((one_hot.mean(0) + torch.tensor([0.01, -0.01, 0.0])).expand(9, 3), targets).item()

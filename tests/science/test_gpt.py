"""The character model against torch.nn with the same weights, its causality, its start, and its dense Hessian."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, jacrev

from schemas.catalog import DatasetFacts
from schemas.probes import Sharpness
from schemas.workloads import GPT, CrossEntropy, LanguageModel
from workers.planning.facts import num_parameters
from workers.science.objective import PackObjective
from workers.science.parameters import Layout
from workers.science.probes.sharpness import SharpnessProbe
from workers.science.protocols import Batch, ProbeRequest
from workers.science.registry import build_loss, build_model
from workers.science.streams import generator

VOCABULARY = 7
VARIANTS = [
    {"norm": norm, "last_norm": last_norm, "weight_tying": tying}
    for norm, last_norm, tying in product(("pre", "post"), (True, False), (True, False))
]
NAMED = [pytest.param(v, id="-".join(f"{name}={value}" for name, value in v.items())) for v in VARIANTS]


def spec_of(**fields) -> GPT:
    return GPT(**{"kind": "gpt", "layers": 2, "heads": 2, "width": 8, "context": 6, **fields})


def built(spec: GPT, dtype=torch.float64, seed=0, scale=1.0):
    """The model and a start; `scale` > 1 leaves the small weights of GPT-2's start, at which attention is uniform."""
    model = build_model(spec, (spec.context,), VOCABULARY)
    params = model.init(generator(seed, "initialization"), dtype)
    return model, {name: tensor * (scale if tensor.ndim > 1 else 1.0) for name, tensor in params.items()}


def tokens(num: int, context: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, (num, context), generator=generator(seed, "tokens"), dtype=torch.uint8)


class TorchGPT(nn.Module):
    """The same function from torch's own layers: nn.MultiheadAttention, nn.LayerNorm, nn.Embedding."""

    def __init__(self, spec: GPT) -> None:
        super().__init__()
        width = spec.width
        self.spec = spec
        self.token, self.position = nn.Embedding(VOCABULARY, width), nn.Embedding(spec.context, width)
        self.attentions = nn.ModuleList(
            nn.MultiheadAttention(width, spec.heads, batch_first=True) for _ in range(spec.layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * spec.layers))
        activation = {"gelu": nn.GELU, "relu": nn.ReLU}[spec.activation]
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), activation(), nn.Linear(4 * width, width))
            for _ in range(spec.layers)
        )
        self.last_norm = nn.LayerNorm(width) if spec.last_norm else nn.Identity()
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        if spec.weight_tying:
            self.head.weight = self.token.weight
        self.double()

    def copy_from(self, params: dict[str, Tensor]) -> "TorchGPT":
        ours = {"token_embedding": self.token.weight, "position_embedding": self.position.weight}
        for block in range(self.spec.layers):
            attention, network = self.attentions[block], self.networks[block]
            for name, part in {
                "attention_norm.weight": self.norms[2 * block].weight,
                "attention_norm.bias": self.norms[2 * block].bias,
                "query_key_value.weight": attention.in_proj_weight,
                "query_key_value.bias": attention.in_proj_bias,
                "projection.weight": attention.out_proj.weight,
                "projection.bias": attention.out_proj.bias,
                "mlp_norm.weight": self.norms[2 * block + 1].weight,
                "mlp_norm.bias": self.norms[2 * block + 1].bias,
                "expand.weight": network[0].weight,
                "expand.bias": network[0].bias,
                "contract.weight": network[2].weight,
                "contract.bias": network[2].bias,
            }.items():
                ours[f"block_{block}.{name}"] = part
        if self.spec.last_norm:
            ours |= {"last_norm.weight": self.last_norm.weight, "last_norm.bias": self.last_norm.bias}
        if not self.spec.weight_tying:
            ours["head"] = self.head.weight
        assert ours.keys() == params.keys()
        for name, part in ours.items():
            part.data = params[name].clone()
        self.by_name = ours
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        length = inputs.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool).triu(1)
        x = self.token(inputs.long()) + self.position.weight[:length]
        for block, (attention, network) in enumerate(zip(self.attentions, self.networks, strict=True)):
            first, second = self.norms[2 * block], self.norms[2 * block + 1]

            def attend(at: Tensor, attention: nn.MultiheadAttention = attention) -> Tensor:
                return attention(at, at, at, attn_mask=mask, need_weights=False)[0]

            if self.spec.norm == "pre":
                x = x + attend(first(x))
                x = x + network(second(x))
            else:
                x = first(x + attend(x))
                x = second(x + network(x))
        return self.head(self.last_norm(x))


@pytest.mark.parametrize("variant", NAMED)
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_outputs_and_gradient_equal_torch_s_own_layers(variant, activation):
    spec = spec_of(**variant, activation=activation)
    model, params = built(spec, scale=20.0)
    inputs, targets = tokens(3, 6), tokens(3, 6, seed=1)
    twin = TorchGPT(spec).copy_from(params)
    outputs = twin(inputs)
    torch.testing.assert_close(model.apply(params, inputs), outputs, rtol=1e-10, atol=1e-12)
    torch.nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten().long()).backward()

    leaves = {name: tensor.clone().requires_grad_() for name, tensor in params.items()}
    build_loss(CrossEntropy(kind="cross_entropy"))(model.apply(leaves, inputs), targets).backward()
    for name, leaf in leaves.items():
        torch.testing.assert_close(leaf.grad, twin.by_name[name].grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_later_character_changes_no_earlier_output(norm):
    model, params = built(spec_of(norm=norm, context=8), scale=20.0)
    inputs = tokens(2, 8)
    before = model.apply(params, inputs)
    for position in range(1, 8):
        changed = inputs.clone()
        changed[:, position] = (changed[:, position] + 1) % VOCABULARY
        after = model.apply(params, changed)
        assert torch.equal(after[:, :position], before[:, :position])
        assert not torch.allclose(after[:, position], before[:, position])


def test_dropout_has_masks_of_the_key_and_none_without_one():
    plain, params = built(spec_of(), scale=20.0)
    dropping = build_model(spec_of(dropout=0.3), (6,), VOCABULARY)
    inputs, keys = tokens(4, 6), [torch.tensor(key) for key in (1, 1, 2)]
    assert torch.equal(dropping.apply(params, inputs), plain.apply(params, inputs))
    first, again, other = (dropping.apply(params, inputs, key) for key in keys)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert not torch.allclose(first, plain.apply(params, inputs))


def test_dropout_changes_no_earlier_output_for_a_later_character():
    model, params = built(spec_of(dropout=0.3), scale=20.0)
    inputs, key = tokens(2, 6), torch.tensor(5)
    changed = inputs.clone()
    changed[:, 4] = (changed[:, 4] + 1) % VOCABULARY
    assert torch.equal(model.apply(params, changed, key)[:, :4], model.apply(params, inputs, key)[:, :4])


def test_a_window_may_be_shorter_than_the_context():
    model, params = built(spec_of())
    torch.testing.assert_close(model.apply(params, tokens(2, 6)[:, :4]), model.apply(params, tokens(2, 6))[:, :4])


def test_the_start_is_that_of_gpt_2():
    spec = spec_of(layers=3, width=120, context=50, heads=3, weight_tying=False)
    params = build_model(spec, (50,), 96).init(generator(0, "initialization"), torch.float64)
    residual = 0.02 / math.sqrt(6)
    for name, tensor in params.items():
        if tensor.ndim == 1:
            assert (tensor == (1.0 if name.endswith("norm.weight") else 0.0)).all()
        else:
            std = residual if name.endswith(("projection.weight", "contract.weight")) else 0.02
            assert tensor.std().item() == pytest.approx(std, rel=0.05)
    outputs = build_model(spec, (50,), 96).apply(params, tokens(4, 50))
    loss = build_loss(CrossEntropy(kind="cross_entropy"))(outputs, tokens(4, 50, seed=1))
    assert loss.item() == pytest.approx(math.log(96), abs=0.1)


def test_the_start_is_the_same_draw_in_float32_and_float64():
    single, double = (built(spec_of(), dtype)[1] for dtype in (torch.float32, torch.float64))
    assert all(torch.equal(single[name], double[name].float()) for name in single)


@pytest.mark.parametrize("variant", NAMED)
def test_the_plan_counts_the_parameters_that_there_are(variant):
    spec = spec_of(**variant, layers=3)
    workload = LanguageModel.model_validate(
        {"task": "language_model", "model": spec.model_dump(), "dataset": {"kind": "pydoc"},
         "loss": {"kind": "cross_entropy"}, "budget": {"steps": 1}}
    )  # fmt: skip
    facts = DatasetFacts(
        kind="pydoc", sha256="0" * 64, num_train=90, num_validation=9, num_test=9, num_classes=VOCABULARY,
        input_shape=(), reference_loss=1.0,
    )  # fmt: skip
    assert num_parameters(workload, facts) == sum(tensor.numel() for tensor in built(spec)[1].values())


def objective_of(spec: GPT) -> tuple[PackObjective, Layout, Batch, Tensor]:
    """Objective, layout, a batch of 5 windows and the parameters [2, P] of two starts."""
    model, loss = build_model(spec, (spec.context,), VOCABULARY), build_loss(CrossEntropy(kind="cross_entropy"))
    starts = [built(spec, seed=seed, scale=10.0)[1] for seed in range(2)]
    layout = Layout.of(starts[0])
    objective = PackObjective(lambda p, x, y: loss(model.apply(layout.unflatten(p), x), y), layout.num_parameters)
    batch = Batch((tokens(5, spec.context), tokens(5, spec.context, seed=1)), size=5)
    return objective, layout, batch, layout.stack(starts)


SMALL = {"layers": 1, "width": 4, "heads": 2, "context": 4}
"""P is about 300: small enough for a dense Hessian."""


@pytest.mark.parametrize("variant", [{"norm": "pre"}, {"norm": "pre", "last_norm": False}, {"norm": "post"}])
def test_products_and_sharpness_equal_those_of_the_dense_hessian(variant):
    spec = spec_of(**SMALL, **variant)
    objective, layout, batch, params_NP = objective_of(spec)
    model, loss = build_model(spec, (4,), VOCABULARY), build_loss(CrossEntropy(kind="cross_entropy"))

    def of_one(params_P: Tensor) -> Tensor:
        return loss(model.apply(layout.unflatten(params_P), batch.tensors[0]), batch.tensors[1])

    dense = torch.stack([jacrev(grad(of_one))(row) for row in params_NP])
    vectors = torch.randn(params_NP.shape, generator=generator(0, "v"), dtype=torch.float64)
    products = torch.einsum("npq,nq->np", dense, vectors)
    torch.testing.assert_close(objective.hvp(params_NP, batch, vectors), products, rtol=1e-8, atol=1e-10)

    probe = SharpnessProbe(
        Sharpness(kind="sharpness", every_steps=1, relative_tolerance=1e-6, max_hvps=layout.num_parameters // 2)
    )
    request = ProbeRequest(
        objective=objective, batches=(batch,), params_nP=params_NP, next_params_nP=None,
        lr_n=torch.full((2,), 0.1, dtype=torch.float64), hvps_left_n=torch.full((2,), 10_000),
        points_left_n=torch.zeros(2, dtype=torch.int64), alive_n=torch.ones(2, dtype=torch.bool), step=0,
    )  # fmt: skip
    reading, _ = probe.measure(request, probe.init(2, layout.num_parameters, torch.float64, params_NP.device))
    top = torch.linalg.eigvalsh(dense)[:, -1]
    assert reading.converged.all()
    torch.testing.assert_close(reading.value, top, rtol=1e-4, atol=0.0)


def test_products_of_float32_are_those_of_float64():
    objective, _, batch, params_NP = objective_of(spec_of())
    vectors = torch.randn(params_NP.shape, generator=generator(0, "v"), dtype=torch.float64)
    exact = objective.hvp(params_NP, batch, vectors)
    single = objective.hvp(params_NP.float(), batch, vectors.float()).double()
    assert ((single - exact).norm(dim=1) / exact.norm(dim=1) < 1e-4).all()

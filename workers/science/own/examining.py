"""Builds a workload with a user's own parts once, on a few examples: is it sound, and can its trials be stacked?"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from schemas.own_parts import WorkloadFacts
from schemas.plugins import PluginOptimizer
from schemas.workloads import Classification, LanguageModel
from workers.plugins import PluginFailed
from workers.science.datasets import DataArrays, Examples, to_device
from workers.science.device import dtype_of, prepare
from workers.science.objective import PackObjective
from workers.science.own.alone import AloneObjective
from workers.science.own.losses import OwnLoss
from workers.science.own.modules import OwnModel, call_module, constants, described, evaluation_mode, trainable
from workers.science.own.optimizers import TorchOptimizer
from workers.science.own.streams import start_global_streams
from workers.science.parameters import Layout
from workers.science.protocols import Batch, Loss, Model
from workers.science.registry import build_loss, build_model
from workers.science.streams import generator

EXAMPLES = 8
MOST_EXAMPLES = 1024
"""Of a batch that is tried as it will train: an evaluation takes as many at once."""
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-7}
"""Of gradients that two ways of computing give."""
HVP_TOLERANCE = 1e-2
"""Of a Hessian-vector product against differences of gradients, in float64."""
DIFFERENCE_STEP = 1e-5


@dataclass(frozen=True)
class Built:
    """A workload, built twice: from two seeds."""

    name: str
    model: Model
    loss: Loss
    modules: tuple[nn.Module, nn.Module] | None
    """None where the model is one of ours."""
    layout: Layout
    params_2P: Tensor
    examples: Examples

    def objective(self) -> AloneObjective:
        """Of the first, with buffers as they are at the start."""
        module = self.modules[0] if self.modules else None
        return AloneObjective(self.model, self.loss, self.layout, module)

    @property
    def batch(self) -> Batch:
        """The examples, shared, with a key."""
        return Batch((self.examples.inputs, self.examples.targets, torch.tensor(1)), size=len(self.examples))


def examine(workload: Classification | LanguageModel, arrays: DataArrays, *, needs_hvp: bool) -> WorkloadFacts:
    """What is found out about it on the CPU.

    Args:
        needs_hvp: whether a probe of the study takes Hessian-vector products.

    Raises:
        PluginMissing. PluginFailed: it cannot be trained; the message says why and what is allowed.
    """
    prepare("cpu")
    built = _build(workload, arrays, dtype_of(workload.precision))
    inputs, targets = built.examples.inputs.clone(), built.examples.targets.clone()
    outputs = _check_outputs(built, workload, arrays)
    _check_untouched(f"model {built.name}", built.examples.inputs, inputs)
    loss = _loss_of(built, outputs)
    _check_untouched(f"loss {getattr(built.loss, 'name', '')}", built.examples.targets, targets)
    _check_state(built)
    _check_repeats(built, outputs, loss)
    no_hvp = _why_no_hvp(workload, arrays, built) if needs_hvp else ""
    return WorkloadFacts(
        num_parameters=built.layout.num_parameters,
        output_size=outputs[0].numel(),
        unstacked=_why_unstacked(built, needs_hvp=needs_hvp and not no_hvp),
        no_hvp=no_hvp,
        has_convolutions=_has_convolutions(built),
    )


def check_batch(workload: Classification | LanguageModel, arrays: DataArrays) -> None:
    """Asks for the outputs and the loss of as many examples as train at once: some code knows its own batch size alone,
    and batch norm has no statistics of one example.

    Raises:
        PluginMissing. PluginFailed: it raises, or gives something else than for a few; of a batch of more than
            MOST_EXAMPLES nothing is known.
    """
    num_train = min(len(arrays.train_y), getattr(workload.dataset, "subset", None) or len(arrays.train_y))
    size = num_train if workload.batch_size == "full" else workload.batch_size
    if size == EXAMPLES or size > min(MOST_EXAMPLES, num_train):
        return
    prepare("cpu")
    built = _build(workload, arrays, dtype_of(workload.precision), size)
    _loss_of(built, _outputs(built))


def examine_optimizer(spec: PluginOptimizer, workload: Classification | LanguageModel, arrays: DataArrays) -> None:
    """Steps it a few times, and once more from what a checkpoint of it would hold.

    Raises:
        PluginMissing. PluginFailed: it cannot be used; the message says why and what is allowed.
    """
    built = _build(workload, arrays, dtype_of(workload.precision))
    params_1P = built.params_2P[:1]
    grads = [torch.randn(params_1P.shape, generator=generator(0, "grads", i)).to(params_1P.dtype) for i in range(3)]
    whole, first, second = (TorchOptimizer(spec, built.layout) for _ in range(3))
    state = whole.init(params_1P)
    at_end = _stepped(whole, state, params_1P, grads)
    half = _stepped(first, first.init(params_1P), params_1P, grads[:2])
    state = second.init(half)
    second.restore(first.export())
    if not _same(at_end, _stepped(second, state, half, grads[2:])):
        raise PluginFailed(
            f"optimizer {spec.name}: it goes on otherwise after its state was saved and restored, allowed one that"
            " keeps what it remembers in `state` and `param_groups`"
        )


def _stepped(optimizer: TorchOptimizer, state: dict[str, Tensor], params_1P: Tensor, grads: list[Tensor]) -> Tensor:
    params_1P = params_1P.clone()
    for grads_1P in grads:
        state["lr"].fill_(1e-3)
        update_1P = torch.empty_like(params_1P)
        optimizer.update(grads_1P.clone(), state, params_1P, optimizer.coefficients(state), update_1P)
        params_1P += update_1P
    return params_1P


def _build(
    workload: Classification | LanguageModel, arrays: DataArrays, dtype: torch.dtype, most: int = EXAMPLES
) -> Built:
    model = build_model(workload.model, arrays.train_x.shape[1:], arrays.num_classes)
    streams = [generator(seed, "initialization") for seed in (0, 1)]
    modules = None
    if isinstance(model, OwnModel):
        modules = model.build(streams[0], dtype), model.build(streams[1], dtype)
    if modules is None:
        named: list[dict[str, Tensor]] = [model.init(stream, dtype) for stream in streams]
    else:
        named = [{name: p.detach() for name, p in trainable(module).items()} for module in modules]
    layouts = [Layout.of(params) for params in named]
    name = getattr(model, "name", workload.model.kind)
    if layouts[0] != layouts[1]:
        raise PluginFailed(f"model {name}: got other parameters with another seed, allowed the same names and shapes")
    data = to_device(arrays, dtype, torch.device("cpu"), most=most)
    return Built(
        name,
        model,
        build_loss(workload.loss),
        modules,
        layouts[0],
        layouts[0].stack(named),
        data.train,
    )


def _check_outputs(built: Built, workload: Classification | LanguageModel, arrays: DataArrays) -> Tensor:
    """The outputs for the examples in training; refuses those that the loss has no use for, in both modes."""
    inputs, targets = built.examples.inputs, built.examples.targets
    if built.modules is None and isinstance(workload, Classification) and not inputs.is_floating_point():
        said = f"x of whole numbers for model {built.name}"
        raise PluginFailed(f"data: got {said}, allowed real numbers, pixels as (x / 255).astype('float32'), say")
    if not isinstance(built.loss, OwnLoss) and targets.is_floating_point():
        said = f"{workload.loss.kind} with targets that are numbers"
        raise PluginFailed(f"loss: got {said}, allowed data with class labels, or a loss of your own")
    both = [_outputs(built, is_training=is_training) for is_training in (True, False)]
    for outputs, mode in zip(both, ("", " in evaluation mode"), strict=True):
        allowed = (*targets.shape, arrays.num_classes)
        if not isinstance(built.loss, OwnLoss) and tuple(outputs.shape) != allowed:
            got = f"outputs of shape {list(outputs.shape)}{mode}"
            said = f"one for each of {arrays.num_classes} classes"
            raise PluginFailed(f"model {built.name}: got {got}, allowed {list(allowed)}: {said}")
    return both[0]


def _check_repeats(built: Built, outputs: Tensor, loss: Tensor) -> None:
    """The same once more, from the same start: else a step that is made again would be another one."""
    if not _same(outputs, _outputs(built)):
        raise PluginFailed(
            f"model {built.name}: it gives other outputs for the same inputs, parameters, buffers and random"
            " numbers, so it remembers something that no checkpoint holds; allowed buffers (register_buffer)"
        )
    if not _same(loss, _loss_of(built, outputs)):
        raise PluginFailed(
            f"loss {getattr(built.loss, 'name', '')}: it gives another loss for the same outputs, targets and random"
            " numbers, allowed a function that remembers nothing"
        )


def _check_untouched(who: str, now: Tensor, before: Tensor) -> None:
    """The examples are those of all trials of a process, and what one writes into them the others would read."""
    if not _same(now, before):
        raise PluginFailed(f"{who}: it changes its inputs in place, which all trials share; allowed a copy of them")


def _check_state(built: Built) -> None:
    """Trains two steps and evaluates: nothing may be kept but in buffers, or a resumed trial would be another."""
    objective, params_1P = built.objective(), built.params_2P[:1]
    objective.train(params_1P, built.batch)
    before = _attributes(built)
    objective.train(params_1P, built.batch)
    objective.loss_and_grad(params_1P, built.batch)
    objective.evaluate(params_1P, built.examples.inputs, built.examples.targets)
    changed = [name for name, value in _attributes(built).items() if before.get(name) != value]
    if changed:
        raise PluginFailed(
            f"model {built.name}: it changes {', '.join(changed)} as it runs, which no checkpoint holds; allowed"
            " buffers (register_buffer)"
        )


def _attributes(built: Built) -> dict[str, Any]:
    """The plain values that its modules have."""
    plain = (bool, int, float, str)
    named = built.modules[0].named_modules() if built.modules else ()
    return {
        f"{place}.{name}".lstrip("."): value
        for place, module in named
        for name, value in vars(module).items()
        if isinstance(value, plain) and name != "training"
    }


class _Convolutions(TorchDispatchMode):
    """Notes whether any are made, however they are written."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen |= func is torch.ops.aten.convolution.default
        return func(*args, **(kwargs or {}))


def _has_convolutions(built: Built) -> bool:
    if built.modules is None:
        return False
    convolutions = _Convolutions()
    with convolutions:
        _outputs(built)
    return convolutions.seen


def _why_unstacked(built: Built, *, needs_hvp: bool) -> str:
    """Why its trials train alone; empty where they can be stacked to the same numbers."""
    if built.modules is not None:
        if known := described(built.modules[0], built.name):
            return known
        for what, is_so in MODULE_REASONS.items():
            if is_so(built):
                return f"{what} in {built.name}"
    if isinstance(built.loss, OwnLoss):
        outputs = _outputs(built)
        if not _same(_loss_of(built, outputs), _loss_of(built, outputs, start=1)):
            return f"random numbers in {built.loss.name}"
    names = [part.name for part in (built.model, built.loss) if isinstance(part, OwnModel | OwnLoss)]
    who = " or ".join(names) or "this model"
    if isinstance(built.model, OwnModel):
        built.model.place(built.params_2P.dtype, built.params_2P.device)
    try:
        stacked = _numbers(_stacked_objective(built), built.params_2P, built.batch, needs_hvp=needs_hvp)
    except Exception as error:  # whatever vmap refuses, it says in a way of its own
        cause = error.__cause__ if isinstance(error, PluginFailed) and error.__cause__ is not None else error
        return f"torch.func.vmap refuses {who} ({next(iter(str(cause).splitlines()), type(cause).__name__)[:100]})"
    alone = _numbers(built.objective(), built.params_2P, built.batch, needs_hvp=needs_hvp)
    tolerance = TOLERANCE[built.params_2P.dtype]
    if all(_distance(one, other) <= tolerance for one, other in zip(stacked, alone, strict=True)):
        return ""
    return f"torch.func.vmap gives other numbers for {who}"


def _changes_buffers(built: Built) -> bool:
    objective = built.objective()
    before = {name: tensor.clone() for name, tensor in objective.state().items()}
    objective.train(built.params_2P[:1], built.batch)
    return not _equal(before, objective.state())


def _has_other_constants(built: Built) -> bool:
    assert built.modules is not None
    return not _equal(constants(built.modules[0]), constants(built.modules[1]))


def _has_modes(built: Built) -> bool:
    assert built.modules is not None
    return not _same(_outputs(built), _outputs(built, is_training=False))


def _is_random(built: Built) -> bool:
    return not _same(_outputs(built), _outputs(built, start=1))


MODULE_REASONS: dict[str, Callable[[Built], bool]] = {
    "buffers that training changes": _changes_buffers,
    "buffers or frozen parameters that are drawn at random": _has_other_constants,
    "random numbers": _is_random,
    "another output in evaluation mode": _has_modes,
}
"""What one module cannot do for all trials of a pack, though vmap may take it."""


def _why_no_hvp(workload: Classification | LanguageModel, arrays: DataArrays, built: Built) -> str:
    """Why its Hessian-vector products cannot be had, or are not its gradient's derivative; empty where they are."""
    who = " and ".join(part.name for part in (built.model, built.loss) if isinstance(part, OwnModel | OwnLoss))
    try:
        precise = _build(workload, arrays, torch.float64)
        objective, params_1P = precise.objective(), precise.params_2P[:1]
        vector_1P = torch.randn(params_1P.shape, generator=generator(0, "direction"), dtype=torch.float64)
        vector_1P /= vector_1P.norm()
        product = objective.hvp(params_1P, precise.batch, vector_1P)
    except Exception as error:
        cause = error.__cause__ if isinstance(error, PluginFailed) and error.__cause__ is not None else error
        return f"{who or 'it'} cannot be differentiated twice ({next(iter(str(cause).splitlines()), '')[:150]})"
    distances = []
    for step in (DIFFERENCE_STEP, DIFFERENCE_STEP / 30):  # a kink may lie within the first
        ends = [objective.loss_and_grad(params_1P + sign * step * vector_1P, precise.batch)[1] for sign in (1, -1)]
        distances.append(_distance(product, (ends[0] - ends[1]) / (2 * step), floor=float(ends[0].norm()) * 1e-4))
    if min(distances) <= HVP_TOLERANCE:
        return ""
    return f"the second derivative of {who or 'it'} is not that of its gradient: {min(distances):.0%} off"


@torch.no_grad()
def _outputs(built: Built, *, is_training: bool = True, start: int = 0) -> Tensor:
    """Of the first of the two, with its buffers as they are at the start."""
    params, inputs = built.layout.unflatten(built.params_2P[0]), built.examples.inputs
    if built.modules is None:
        return built.model.apply(params, inputs)
    start_global_streams(start)
    module = built.modules[0]
    given = {**params, **{name: tensor.clone() for name, tensor in constants(module).items()}}
    with nullcontext() if is_training else evaluation_mode(module):
        return call_module(built.name, module, given, inputs, built.params_2P.dtype)


@torch.no_grad()
def _loss_of(built: Built, outputs: Tensor, start: int = 0) -> Tensor:
    start_global_streams(start)
    return built.loss(outputs.clone(), built.examples.targets)


def _stacked_objective(built: Built) -> PackObjective:
    def trial_loss(params_P: Tensor, inputs: Tensor, targets: Tensor, key: Tensor) -> Tensor:
        return built.loss(built.model.apply(built.layout.unflatten(params_P), inputs, key), targets)

    return PackObjective(trial_loss, built.layout.num_parameters, trace=False)


def _numbers(objective: Any, params_2P: Tensor, batch: Batch, *, needs_hvp: bool) -> list[Tensor]:
    """Losses, gradients and Hessian-vector products of two trials, on a batch of each one's own."""
    inputs, targets, key = batch.tensors
    pairs = [torch.stack((tensor, tensor.flip(0))) for tensor in (inputs, targets)]
    own = Batch((*pairs, torch.stack((key, key + 1))), True, batch.size)
    # a loss alone, too, as an evaluation takes it: vmap knows torch's recurrent nets only under a derivative
    found = [objective.loss(params_2P, batch)]
    found += [*objective.loss_and_grad(params_2P, own), *objective.loss_and_grad(params_2P, batch)]
    # a drawn direction: of a linear classifier's Hessian the one of ones is in the null space, where all is rounding
    vectors_2P = torch.randn(params_2P.shape, generator=generator(0, "directions"), dtype=params_2P.dtype)
    return [*found, objective.hvp(params_2P, batch, vectors_2P)] if needs_hvp else found


def _distance(one: Tensor, other: Tensor, floor: float = 1e-12) -> float:
    if not torch.isfinite(other).all():
        return 0.0 if torch.equal(torch.isfinite(one), torch.isfinite(other)) else torch.inf
    return float((one - other).norm()) / max(float(other.norm()), floor)


def _same(one: Tensor, other: Tensor) -> bool:
    """To the bit, NaN being NaN."""
    return torch.allclose(one, other, rtol=0.0, atol=0.0, equal_nan=True)


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())

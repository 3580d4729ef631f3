"""What a pack trains on: the objective, the starting parameters and the batches, from the workload's spec."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from schemas.functions import TwoLayerLinear
from schemas.gradient_noise import MultiplicativeNoise
from schemas.plugins import PluginDataset, PluginLoss, PluginModel
from schemas.probes import Probe as ProbeSpec
from schemas.trials import TrialSpec, batch_size_of
from schemas.workloads import (
    MLP,
    Analytic,
    Classification,
    LanguageModel,
    ResNet,
    TextModel,
    ViT,
    Workload,
)
from schemas.workloads import Loss as LossSpec
from schemas.workloads import Model as ModelSpec
from workers.science.augmentation import AugmentedBatches
from workers.science.batches import (
    PROBE_KEY,
    DrawnBatches,
    KeyedBatches,
    SharedBatch,
    StackedBatches,
    TrainingBatches,
)
from workers.science.datasets import DataArrays, DeviceData, Examples, on_device
from workers.science.device import dtype_of
from workers.science.draws import NormalDraws
from workers.science.evaluation import Evaluator, evaluation_function
from workers.science.gradient_noise import NoisyObjective
from workers.science.label_noise import FreshLabels, OwnLabels, has_noise, labels_by_seed
from workers.science.objective import AccumulatedObjective, Network, PackObjective
from workers.science.own.alone import AloneObjective, AloneTraining
from workers.science.own.losses import OwnLoss
from workers.science.own.modules import OwnModel, trainable
from workers.science.parameters import Layout
from workers.science.probes.fixed_batches import batch_id, probe_batches
from workers.science.protocols import Batch, Function, Model, Objective, SeededFunction, TrainingObjective
from workers.science.registry import build_function, build_loss, build_model
from workers.science.streams import generator
from workers.science.tracing import Traced

EVALUATION_BYTES = 2**20
"""Activations that an evaluation holds at once per layer on a CPU: half of a core's second-level cache."""
IMAGE_EVALUATION_BYTES = {"cpu": 2**23, "cuda": 2**29}
"""The same of a net for images, whose examples are then taken some at a time."""

CUDA_EVALUATION_BYTES = 2**30
"""The same on a GPU, of a text, whose attention scores grow with the square of the window."""


@dataclass(frozen=True)
class ProbeBatches:
    """The fixed batches of one probe."""

    batches: tuple[Batch, ...]
    batch_id: str
    size: int


@dataclass(frozen=True)
class Problem:
    """Everything about the workload that the loop needs."""

    objective: Objective
    """What probes measure."""
    training_objective: TrainingObjective
    start_NP: Tensor
    layout: Layout
    """Where each named tensor lies among the P parameters; an analytic function has one vector, "point"."""
    start_of: Callable[[int], Tensor]
    """Initialization seed -> the parameters [P] that its trials start from."""
    batches: TrainingBatches
    batch_size: int
    gradient_clip_norm: float | None
    divergence_factor: float | None
    average_decay: float | None = None
    """Of the moving average that is evaluated in place of the parameters."""
    evaluator: Evaluator | None = None
    evaluate_every_steps: int = 0
    reference_loss: float | None = None
    """Loss of the best constant answer; None for an analytic function, whose reference is its start."""
    optimum: float | None = None
    stop_gap: float | None = None
    lr_multiplier_P: Tensor | None = None
    data: DeviceData | None = None
    probe_key: Tensor | None = None
    """int64 scalar: the key of the masks under which probes measure; None: a model without dropout."""
    alone: AloneObjective | None = None
    """The objective again, where the one trial's model runs as its user wrote it."""

    def probe_batches(self, spec: ProbeSpec) -> ProbeBatches:
        """The batches on which a probe measures, images and labels as they are: the same in every pack and study."""
        if self.data is None:
            return ProbeBatches((Batch(),), "", 1)
        train = self.data.train
        indices = probe_batches(spec, len(train), self.batch_size)
        parts = [train.take(torch.from_numpy(index).to(train.targets.device)) for index in indices]
        key = () if self.probe_key is None else (self.probe_key,)
        batches = tuple(Batch((part.inputs, part.targets, *key), size=len(part)) for part in parts)
        return ProbeBatches(batches, batch_id(indices, self.data.sha256), len(indices[0]))


def build_problem(
    workload: Workload,
    trials: Sequence[TrialSpec],
    data: DataArrays | None,
    device: torch.device,
    *,
    stacked: bool = True,
) -> Problem:
    """The problem that the N slots share, each trial with its own start and data order.

    Args:
        stacked: False for one trial alone; a model or a loss of the user's own then runs as it is written.

    Raises:
        ValueError: no data for a network, data for an analytic function, a precision that is not built.
    """
    if isinstance(workload, Analytic):
        return _analytic(workload, trials, device)
    if data is None:
        raise ValueError(f"data: got none, allowed the arrays of {workload.dataset.kind}")
    if not stacked and has_own_graph(workload):
        return _alone(workload, trials, data, device)
    return _network(workload, trials, data, device)


def has_own_graph(workload: Classification | LanguageModel) -> bool:
    """Whether the model or the loss is the user's own."""
    return isinstance(workload.model, PluginModel) or isinstance(workload.loss, PluginLoss)


def _analytic(workload: Analytic, trials: Sequence[TrialSpec], device: torch.device) -> Problem:
    function = build_function(workload.function)

    def start_of(seed: int) -> Tensor:
        return _start(workload, function, seed).to(dtype=dtype_of(workload.dtype), device=device)

    start_NP = _stacked_starts(start_of, trials)
    objective = PackObjective(function.value, function.num_parameters)
    return Problem(
        objective=objective,
        training_objective=_with_noise(objective, workload, function, start_NP),
        start_NP=start_NP,
        layout=Layout.of({"point": start_NP[0]}),
        start_of=start_of,
        batches=_analytic_batches(workload, trials, start_NP),
        batch_size=1,
        gradient_clip_norm=workload.gradient_clip_norm,
        divergence_factor=None,
        optimum=function.optimum,
        stop_gap=workload.stop.gap if workload.stop is not None else None,
    )


def _start(workload: Analytic, function: Function, seed: int) -> Tensor:
    if workload.start is not None:
        return function.start(workload.start)
    assert isinstance(function, SeededFunction)
    return function.draw_start(generator(seed, "initialization"))


def _stacked_starts(start_of: Callable[[int], Tensor], trials: Sequence[TrialSpec]) -> Tensor:
    seeds = [trial.seed.initialization for trial in trials]
    starts = {seed: start_of(seed) for seed in set(seeds)}
    return torch.stack([starts[seed] for seed in seeds])


def _analytic_batches(workload: Analytic, trials: Sequence[TrialSpec], like_NP: Tensor) -> TrainingBatches:
    seeds = [trial.seed.noise for trial in trials]
    draws = []
    if isinstance(workload.function, TwoLayerLinear) and workload.function.label_noise > 0:
        draws.append(NormalDraws("label_noise", seeds, (), like_NP, scale=workload.function.label_noise))
    if workload.noise is not None:
        shape = () if isinstance(workload.noise, MultiplicativeNoise) else (like_NP.shape[1],)
        draws.append(NormalDraws("gradient_noise", seeds, shape, like_NP))
    return DrawnBatches(draws) if draws else SharedBatch(Batch())


def _with_noise(objective: PackObjective, workload: Analytic, function: Function, like_NP: Tensor) -> TrainingObjective:
    if workload.noise is None:
        return objective
    return NoisyObjective(objective, workload.noise, function.optimum, like_NP)


@dataclass(frozen=True)
class _Graph:
    """What packs of the same model share in a process: traced once, used by all of them."""

    model: Model
    layout: Layout
    objective: PackObjective
    training_objective: PackObjective
    evaluation: Traced


@lru_cache(maxsize=64)
def _graph(
    model_spec: ModelSpec | TextModel,
    loss_spec: LossSpec,
    input_shape: tuple[int, ...],
    num_classes: int,
    *,
    autocast: bool,
) -> _Graph:
    model, loss = build_model(model_spec, input_shape, num_classes), build_loss(loss_spec)
    layout = Layout.of(model.init(generator(0, "layout"), torch.float32))

    def trial_loss(params_P: Tensor, inputs: Tensor, targets: Tensor, key: Tensor | None = None) -> Tensor:
        return loss(model.apply(layout.unflatten(params_P), inputs, key), targets)

    def autocast_loss(params_P: Tensor, inputs: Tensor, targets: Tensor, key: Tensor | None = None) -> Tensor:
        # without the cache, which would keep a tracer's casts beyond its trace
        with torch.autocast(params_P.device.type, torch.bfloat16, cache_enabled=False):
            outputs = model.apply(layout.unflatten(params_P), inputs, key)
        return loss(outputs.to(params_P.dtype), targets)

    def outputs(params_P: Tensor, inputs: Tensor, targets: Tensor, key: Tensor | None = None) -> Tensor:
        return model.apply(layout.unflatten(params_P), inputs, key)

    def loss_of_outputs(there: Tensor, inputs: Tensor, targets: Tensor, key: Tensor | None = None) -> Tensor:
        return loss(there, targets)

    objective = PackObjective(trial_loss, layout.num_parameters, network=Network(outputs, loss_of_outputs))
    return _Graph(
        model,
        layout,
        objective,
        PackObjective(autocast_loss, layout.num_parameters) if autocast else objective,
        evaluation_function(model, loss, layout),
    )


def _network(
    workload: Classification | LanguageModel, trials: Sequence[TrialSpec], arrays: DataArrays, device: torch.device
) -> Problem:
    dtype = dtype_of(workload.precision)
    data = on_device(arrays, dtype, device, _subset(workload))
    autocast = workload.precision == "bfloat16_autocast"
    graph = _graph(workload.model, workload.loss, arrays.train_x.shape[1:], arrays.num_classes, autocast=autocast)

    def start_of(seed: int) -> Tensor:
        return graph.layout.flatten(graph.model.init(generator(seed, "initialization"), dtype)).to(device)

    start_NP = _stacked_starts(start_of, trials)
    if isinstance(graph.model, OwnModel):
        graph.model.place(dtype, device)
    multipliers = graph.model.lr_multipliers(trials[0].optimizer.kind)
    is_scaled = any(factor != 1.0 for factor in multipliers.values())
    batches, probe_key = _batches(workload, trials, data), None
    if has_dropout(workload):
        batches = KeyedBatches(batches, [trial.seed.noise for trial in trials], device)
        probe_key = torch.tensor(PROBE_KEY, device=device)
    return Problem(
        objective=graph.objective,
        training_objective=_accumulated(graph.training_objective, workload),
        start_NP=start_NP,
        layout=graph.layout,
        start_of=start_of,
        batches=batches,
        batch_size=batch_size_of(workload, len(data.train)),
        gradient_clip_norm=workload.gradient_clip_norm,
        divergence_factor=workload.divergence_factor,
        average_decay=workload.average.decay if workload.average.kind == "ema" else None,
        evaluator=_evaluator(workload, graph, data, len(trials), dtype),
        evaluate_every_steps=workload.evaluation.every_steps,
        reference_loss=_reference_loss(workload, graph.model, start_NP[0], data, graph.layout),
        lr_multiplier_P=graph.layout.spread(multipliers, dtype).to(device) if is_scaled else None,
        data=data,
        probe_key=probe_key,
    )


def has_dropout(workload: Classification | LanguageModel) -> bool:
    """Whether a model of ours draws masks: a step's come from a key that its batch carries."""
    return getattr(workload.model, "dropout", 0.0) > 0


def _accumulated(objective: TrainingObjective, workload: Classification | LanguageModel) -> TrainingObjective:
    return AccumulatedObjective(objective, workload.accumulation) if workload.accumulation > 1 else objective


def _alone(
    workload: Classification | LanguageModel, trials: Sequence[TrialSpec], arrays: DataArrays, device: torch.device
) -> Problem:
    """The problem of one trial whose model or loss no graph of ours holds."""
    (trial,) = trials
    dtype = dtype_of(workload.precision)
    data = on_device(arrays, dtype, device, _subset(workload))
    model = build_model(workload.model, arrays.train_x.shape[1:], arrays.num_classes)
    stream = generator(trial.seed.initialization, "initialization")
    module = model.build(stream, dtype) if isinstance(model, OwnModel) else None
    params = model.init(stream, dtype) if module is None else {n: p.detach() for n, p in trainable(module).items()}
    layout = Layout.of(params)
    start_P = layout.flatten(params).to(device)
    own = None if module is None else module.to(device)
    autocast = workload.precision == "bfloat16_autocast"
    loss = build_loss(workload.loss)
    num_classes = None if isinstance(loss, OwnLoss) else arrays.num_classes
    objective = AloneObjective(model, loss, layout, own, autocast=autocast, num_classes=num_classes)
    return Problem(
        objective=objective,
        training_objective=_accumulated(AloneTraining(objective), workload),
        start_NP=start_P.unsqueeze(0),
        batches=KeyedBatches(_batches(workload, trials, data), [trial.seed.noise], device),
        batch_size=batch_size_of(workload, len(data.train)),
        gradient_clip_norm=workload.gradient_clip_norm,
        divergence_factor=workload.divergence_factor,
        average_decay=workload.average.decay if workload.average.kind == "ema" else None,
        evaluator=Evaluator(objective.evaluate, data, 1),
        evaluate_every_steps=workload.evaluation.every_steps,
        reference_loss=_reference_loss(workload, model, start_P, data, layout),
        data=data,
        probe_key=torch.tensor(PROBE_KEY, device=device),
        layout=layout,
        start_of=lambda _seed: start_P,  # that of the one trial: another's would need frozen parts of its own
        alone=objective,
    )


def _subset(workload: Classification | LanguageModel) -> int | None:
    # of a text the windows were chosen when they were cut; a set of the user's own has none
    return getattr(workload.dataset, "subset", None) if isinstance(workload, Classification) else None


def _reference_loss(
    workload: Classification | LanguageModel, model: Model, params_P: Tensor, data: DeviceData, layout: Layout
) -> float:
    """Loss of the best constant answer; of a loss of the user's own, found numerically over outputs of this shape."""
    loss, targets = build_loss(workload.loss), data.train.targets.cpu()
    if not isinstance(loss, OwnLoss):
        return loss.constant_answer(targets, data.num_classes)
    params = layout.unflatten(params_P.to(data.train.inputs.device))
    with torch.no_grad():
        outputs = model.apply(params, data.train.inputs[:2])
    return loss.best_constant(targets, tuple(outputs.shape[1:]))


def _batches(
    workload: Classification | LanguageModel, trials: Sequence[TrialSpec], data: DeviceData
) -> TrainingBatches:
    """Of each trial its own: in its order, with its labels where there is noise, augmented where that is asked for."""
    spec, device = workload.dataset, data.train.targets.device
    noise_seeds, order_seeds = ([getattr(trial.seed, name) for trial in trials] for name in ("noise", "data_order"))
    if isinstance(spec, PluginDataset):
        return _plain_batches(workload, data.train, order_seeds)
    size = batch_size_of(workload, len(data.train))
    is_noisy, train = has_noise(spec.label_noise), data.train
    distinct = sorted(set(noise_seeds))
    if is_noisy and spec.label_noise.resample == "once":
        train = labels_by_seed(train, spec.label_noise.level, distinct, data.num_classes)
    batches = _plain_batches(workload, train, order_seeds)
    if train is not data.train:
        batches = OwnLabels(batches, torch.tensor([distinct.index(seed) for seed in noise_seeds], device=device))
    elif is_noisy:
        batches = FreshLabels(batches, spec.label_noise.level, noise_seeds, size, data.num_classes, device)
    if spec.augmentation != "none":
        shape = tuple(data.train.inputs.shape[1:])
        batches = AugmentedBatches(batches, spec.augmentation, order_seeds, size, shape, device)
    return batches


def _plain_batches(
    workload: Classification | LanguageModel, train: Examples, order_seeds: Sequence[int]
) -> TrainingBatches:
    if workload.batch_size == "full":
        return SharedBatch(Batch((train.inputs, train.targets), size=len(train)))
    size = batch_size_of(workload, len(train))
    return StackedBatches(train, order_seeds, size, replacement=workload.sampling == "replacement")


def _evaluator(
    workload: Classification | LanguageModel, graph: _Graph, data: DeviceData, num_slots: int, dtype: torch.dtype
) -> Evaluator:
    """As many trials at a time as a cache holds; of a net for images, as many examples."""
    device, bytes_per_example = data.train.inputs.device.type, graph.model.activations * dtype.itemsize
    if isinstance(workload.model, ResNet | ViT):
        most = max(1, IMAGE_EVALUATION_BYTES[device] // (num_slots * bytes_per_example))
        return Evaluator(graph.evaluation, data, num_slots, most)
    if device != "cpu" and isinstance(workload.model, MLP):
        return Evaluator(graph.evaluation, data, num_slots)
    most = EVALUATION_BYTES if device == "cpu" else CUDA_EVALUATION_BYTES
    rows = most // (len(data.train_evaluation) * bytes_per_example)
    return Evaluator(graph.evaluation, data, min(num_slots, max(1, rows)))

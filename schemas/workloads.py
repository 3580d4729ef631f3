"""What is trained: model, data set, loss, batch, budget; or an analytic function with a known answer."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from schemas.base import (
    Fraction,
    Name,
    PositiveFloat,
    PositiveInt,
    Spec,
    require_one_of,
)
from schemas.functions import AnalyticFunction
from schemas.gradient_noise import GradientNoise
from schemas.plugins import PluginDataset, PluginLoss, PluginModel

Precision = Literal["float64", "float32", "bfloat16_autocast"]


class MLP(Spec):
    """Multi-layer perceptron. `standard`: N(0, 1/fan_in) weights; `mup`: maximal update parametrization."""

    kind: Literal["mlp"]
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=64, strict=False)] = (128, 128)
    activation: Literal["tanh", "relu", "gelu", "identity"] = "tanh"
    parametrization: Literal["standard", "mup"] = "standard"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class ResNet(Spec):
    """Residual network for small images with GroupNorm, never BatchNorm: a 3x3 stem, then `stages` of basic blocks.

    `depth` counts the layers as He et al. do: 2 + 2 x stages x blocks per stage. The first stage has `width` channels,
    each later one twice as many at half the side. ResNet-20 is depth 20; ResNet-18 depth 18, stages 4, width 64.
    """

    kind: Literal["resnet"]
    depth: Annotated[int, Field(ge=4, le=1000)] = 8
    stages: Annotated[int, Field(ge=1, le=4)] = 3
    width: PositiveInt = 16
    groups: PositiveInt = 8
    """Groups of channels that are normalised together, in every layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Between the two convolutions of each block."""

    @model_validator(mode="after")
    def _whole_blocks(self) -> "ResNet":
        if (self.depth - 2) % (2 * self.stages):
            raise ValueError(f"a depth of 2 + {2 * self.stages} x blocks per stage ({self.stages} stages)")
        if self.width % self.groups:
            raise ValueError(f"a width that is a multiple of groups, {self.groups}")
        return self


class ViT(Spec):
    """Vision transformer, LayerNorm before each sublayer: patches of `patch` x `patch` pixels, learned positions,
    `depth` blocks of attention and a GELU network four times as wide, the mean over the patches, and a linear layer.
    """

    kind: Literal["vit"]
    patch: PositiveInt = 4
    depth: Annotated[int, Field(ge=1, le=1000)] = 4
    width: PositiveInt = 64
    heads: PositiveInt = 4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of what each sublayer adds."""

    @model_validator(mode="after")
    def _whole_heads(self) -> "ViT":
        if self.width % self.heads:
            raise ValueError(f"a width that is a multiple of heads, {self.heads}")
        return self


Model = Annotated[MLP | ResNet | ViT | PluginModel, Field(discriminator="kind")]


class GPT(Spec):
    """nanoGPT's decoder: learned positions, causal attention, N(0, 0.02) weights. `norm`: where each block's LayerNorm
    stands, before its sublayers or after their residual sums; `last_norm`: one more before the output.
    """

    kind: Literal["gpt"]
    layers: Annotated[int, Field(ge=1, le=1024)] = 2
    heads: PositiveInt = 2
    width: PositiveInt = 64
    context: PositiveInt = 64
    norm: Literal["pre", "post"] = "pre"
    last_norm: bool = True
    weight_tying: bool = True
    activation: Literal["gelu", "relu"] = "gelu"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _whole_heads(self) -> "GPT":
        if self.width % self.heads:
            raise ValueError(f"a width that is a multiple of heads: {self.width} is none of {self.heads}")
        return self


def _stated_context(model: GPT | PluginModel) -> object:
    return model.context if isinstance(model, GPT) else model.options.get("context")


def _with_context(model: GPT | PluginModel) -> GPT | PluginModel:
    context = _stated_context(model)
    if isinstance(context, bool) or not isinstance(context, int) or context < 1:
        raise ValueError("one whose option `context`, an integer of 1 or more, says how many tokens a window holds")
    return model


TextModel = Annotated[GPT | PluginModel, Field(discriminator="kind")]


class LabelNoise(Spec):
    """Each training label is replaced, with probability `level`, by one drawn from all classes, the right one included.

    From the seed's `noise` stream: `once` before the run, or at every step anew. Evaluation and probes see the labels
    as they are.
    """

    kind: Literal["none", "uniform"] = "none"
    level: Fraction = 0.0
    resample: Literal["per_step", "once"] = "once"

    @model_validator(mode="after")
    def _no_level_of_none(self) -> "LabelNoise":
        if self.kind == "none" and (self.level, self.resample) != (0.0, "once"):
            raise ValueError("kind: uniform beside a level or resample")
        return self


class Digits(Spec):
    """8x8 digits (1,797 images, scikit-learn): 1,149 train, 288 validation, 360 test, split once and for all."""

    kind: Literal["digits"]
    augmentation: Literal["none", "crop"] = "none"
    """No flip: a mirrored digit is none."""
    label_noise: LabelNoise = LabelNoise()
    subset: PositiveInt | None = None
    """Only the first so many of a fixed permutation of the training images are trained on."""


class _Photographs(Spec):
    """Images from the data directory, normalised by constants. Of its training file a sixth validates, split by a fixed
    permutation; its test file tests.

    `augmentation` of each training image, anew for each trial and step: `flip` left to right with probability 1/2,
    `crop` to its own size after a margin of an eighth of its side, of zeros (the mean pixel), was put around it.
    Evaluation and probes see the images as they are.
    """

    kind: str
    augmentation: Literal["none", "flip", "crop", "flip_crop"] = "none"
    label_noise: LabelNoise = LabelNoise()
    subset: PositiveInt | None = None
    """Only the first so many of a fixed permutation of the training images are trained on."""


class CIFAR10(_Photographs):
    """CIFAR-10: 32x32 colour images of ten classes (Krizhevsky 2009)."""

    kind: Literal["cifar10"]


class FashionMNIST(_Photographs):
    """Fashion-MNIST: 28x28 grey images of ten kinds of clothing (Xiao et al., arXiv 1708.07747)."""

    kind: Literal["fashion_mnist"]


Dataset = Annotated[Digits | CIFAR10 | FashionMNIST | PluginDataset, Field(discriminator="kind")]


def _no_augmentation(value: object) -> object:
    if value != "none":
        raise ValueError("none: it changes images, and this set is a text; leave it out")
    return value


def _no_label_noise(noise: LabelNoise) -> LabelNoise:
    if noise != LabelNoise():
        raise ValueError("none: a text has no labels beside itself; leave it out")
    return noise


class _Text(Spec):
    """A stream of characters in three contiguous parts: the first 90 % trains, the next 5 % validates, the last tests.

    An example is a window of `context` characters: window i holds characters i C ... i C + C - 1 of its part, and its
    targets are the characters that follow each of them. Windows do not overlap, so an epoch predicts each once.
    """

    kind: str
    augmentation: Annotated[Literal["none"], BeforeValidator(_no_augmentation)] = "none"
    label_noise: Annotated[LabelNoise, AfterValidator(_no_label_noise)] = LabelNoise()
    subset: PositiveInt | None = None
    """Only the first so many windows are trained on."""


class TinyShakespeare(_Text):
    """1,115,394 characters of Shakespeare's plays, 65 different ones; read from the data directory."""

    kind: Literal["tinyshakespeare"]


class PyDoc(_Text):
    """The help texts of Python's own `pydoc_data.topics`, about 470,000 characters, others with each Python version:
    the 95 printable ASCII characters, the line feed, and one token for every other character.
    """

    kind: Literal["pydoc"]


Text = Annotated[TinyShakespeare | PyDoc | PluginDataset, Field(discriminator="kind")]


class CrossEntropy(Spec):
    """Mean negative log likelihood, in nats. With `label_smoothing` e the target is (1 - e) one-hot + e / classes, in
    evaluation, too: a loss has one meaning throughout a study.
    """

    kind: Literal["cross_entropy"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class MSE(Spec):
    """1/2 of the mean squared difference to the one-hot target, over examples and classes: 1/(2 B C) sum (f - y)^2.

    The convention of Kalra and Barkeshli (arXiv 2406.09405): their net of four layers of 512 starts at sharpness ~50.
    """

    kind: Literal["mse"]


Loss = Annotated[CrossEntropy | MSE | PluginLoss, Field(discriminator="kind")]


class Budget(Spec):
    """How long a trial trains, warmup included. Exactly one unit."""

    steps: PositiveInt | None = None
    examples: PositiveInt | None = None
    epochs: PositiveInt | None = None
    tokens: PositiveInt | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Budget":
        require_one_of(steps=self.steps, examples=self.examples, tokens=self.tokens, epochs=self.epochs)
        return self


class Evaluation(Spec):
    """Loss and accuracy on the fixed train-evaluation and validation sets every `every_steps` steps and at the end."""

    every_steps: PositiveInt = 50


class Average(Spec):
    """What is evaluated: the parameters, or their exponential moving average (probes and training see the parameters).

    ema: a <- decay a + (1 - decay) w after each update, begun as the first update's w (torch's get_ema_multi_avg_fn).
    """

    kind: Literal["none", "ema"] = "none"
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> "Average":
        if (self.kind == "ema") != (self.decay > 0):
            raise ValueError("a decay above 0 with kind ema, and none without")
        return self


class _Trained(Spec):
    """What every network's workload says, whatever its task.

    An update averages the gradients of `accumulation` batches of `batch_size` examples: its batch has the product of
    both. `bfloat16_autocast` is for training alone: parameters, evaluations and probes are in float32.
    """

    name: Name | None = None
    task: str
    model: Spec
    dataset: Spec
    loss: Loss
    batch_size: PositiveInt | Literal["full"] = 64
    budget: Budget
    evaluation: Evaluation = Evaluation()
    precision: Precision = "float32"
    gradient_clip_norm: PositiveFloat | None = None
    accumulation: PositiveInt = 1
    average: Average = Average()
    sampling: Literal["reshuffle", "replacement"] = "reshuffle"
    divergence_factor: Annotated[float, Field(gt=1)] = 1e6

    @model_validator(mode="after")
    def _one_full_batch(self) -> "_Trained":
        if self.batch_size == "full" and self.accumulation > 1:
            raise ValueError("accumulation of 1 with batch_size full")
        return self


class Classification(_Trained):
    """A classifier on a data set of labelled examples."""

    task: Literal["classification"]
    model: Model
    dataset: Dataset


class LanguageModel(_Trained):
    """A network that predicts each next character of a text. An example, and the unit of `batch_size`, is a window of
    `model.context` characters; the loss is the mean over all its positions; an epoch is every window once.

    A model of one's own is called with the option `context` and takes tokens int64 [B, context] to outputs
    [B, context, vocabulary]. A data set of one's own gives the windows as they are: x and y of whole numbers
    [n, context], y the token that follows each of x.
    """

    task: Literal["language_model"]
    model: Annotated[TextModel, AfterValidator(_with_context)]
    dataset: Text
    loss: CrossEntropy

    @property
    def context(self) -> int:
        """Tokens in a window."""
        stated = _stated_context(self.model)
        assert isinstance(stated, int)
        return stated


class BlockStart(Spec):
    """Where each block of a river valley starts: the wall by its gap, each river coordinate by its value."""

    wall_gap: PositiveFloat
    river: float | Annotated[tuple[float, ...], Field(strict=False)] = 1.0


class Start(Spec):
    """Where an analytic trial starts. Exactly one form."""

    gap: PositiveFloat | None = None
    point: Annotated[tuple[float, ...], Field(min_length=1, strict=False)] | None = None
    per_block: BlockStart | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Start":
        require_one_of(gap=self.gap, point=self.point, per_block=self.per_block)
        return self


class Stop(Spec):
    """When an analytic trial may stop before its budget: at the first row whose gap is at most `gap`."""

    gap: PositiveFloat


class AnalyticBudget(Spec):
    """Steps at most."""

    steps: PositiveInt


class Analytic(Spec):
    """Gradient descent on a function in closed form, one parameter vector of shape [P]."""

    name: Name | None = None
    task: Literal["analytic"]
    function: AnalyticFunction
    start: Start | None = None
    """Left out where the function brings its own (two_layer_linear)."""
    stop: Stop | None = None
    budget: AnalyticBudget
    dtype: Literal["float64", "float32"] = "float64"
    noise: GradientNoise | None = None
    """Of the gradients that train, from the seed's `noise` stream; losses, and what probes see, are without it."""
    gradient_clip_norm: PositiveFloat | None = None


Workload = Annotated[Classification | LanguageModel | Analytic, Field(discriminator="task")]

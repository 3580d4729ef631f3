"""What is trained: model, data set, loss, batch, budget; or an analytic function with a known answer."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from schemas.base import (
    Fraction,
    Name,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Spec,
)
from schemas.plugins import PluginDataset, PluginLoss, PluginModel

Precision = Literal["float64", "float32", "bfloat16_autocast"]


class MLP(Spec):
    """Multi-layer perceptron. `standard`: N(0, 1/fan_in) weights; `mup`: maximal update parametrization."""

    kind: Literal["mlp"]
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=64, strict=False)] = (128, 128)
    activation: Literal["tanh", "relu", "gelu", "identity"] = "tanh"
    parametrization: Literal["standard", "mup"] = "standard"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


Model = Annotated[MLP | PluginModel, Field(discriminator="kind")]


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


TextModel = GPT


class LabelNoise(Spec):
    """Labels replaced by a uniform draw with probability `level`."""

    kind: Literal["none", "uniform"] = "none"
    level: Fraction = 0.0
    resample: Literal["per_step", "once"] = "once"


class Digits(Spec):
    """8x8 digits (1,797 images, scikit-learn): 1,149 train, 288 validation, 360 test, split once and for all."""

    kind: Literal["digits"]
    augmentation: Literal["none", "flip", "crop", "flip_crop"] = "none"
    label_noise: LabelNoise = LabelNoise()
    subset: PositiveInt | None = None


Dataset = Annotated[Digits | PluginDataset, Field(discriminator="kind")]


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


Text = Annotated[TinyShakespeare | PyDoc, Field(discriminator="kind")]


class CrossEntropy(Spec):
    """Mean negative log likelihood, in nats."""

    kind: Literal["cross_entropy"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


Loss = Annotated[CrossEntropy | PluginLoss, Field(discriminator="kind")]


class Budget(Spec):
    """How long a trial trains, warmup included. Exactly one unit."""

    steps: PositiveInt | None = None
    examples: PositiveInt | None = None
    epochs: PositiveInt | None = None
    tokens: PositiveInt | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Budget":
        if sum(value is not None for value in (self.steps, self.examples, self.epochs, self.tokens)) != 1:
            raise ValueError("exactly one of steps, examples, tokens, epochs")
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
    """

    task: Literal["language_model"]
    model: TextModel
    dataset: Text
    loss: CrossEntropy


# --- analytic functions: the answer is known (design/theory.md, section 1.5) ---


class Quadratic(Spec):
    """1/2 sum_i eigenvalue_i w_i^2. With a negative eigenvalue there is no optimum and no gap."""

    kind: Literal["quadratic"]
    eigenvalues: Annotated[tuple[float, ...], Field(min_length=1, max_length=100_000, strict=False)]


class Cosh(Spec):
    """F1: (k0/k1) (cosh(sqrt(k1) w) - 1); ||Hessian|| = k0 + k1 gap, equality everywhere."""

    kind: Literal["cosh"]
    k0: PositiveFloat = 1.0
    k1: PositiveFloat = 1.0


class Power(Spec):
    """F2: w^p, p even >= 4; rho = 1 - 2/p, K0 = 0, Krho = p (p - 1)."""

    kind: Literal["power"]
    p: Annotated[int, Field(ge=4, le=1000, multiple_of=2)] = 4


class Exponential(Spec):
    """F3: exp(-w); rho = 1, K0 = 0, K1 = 1; the infimum 0 is not attained."""

    kind: Literal["exponential"]


class InversePower(Spec):
    """F4: w^(-q), w > 0; rho = 1 + 2/q, K0 = 0, Krho = q (q + 1)."""

    kind: Literal["inverse_power"]
    q: PositiveFloat = 2.0


class Logistic(Spec):
    """F5: log(1 + exp(-w)): not a power law of its gap."""

    kind: Literal["logistic"]


class ScalarNet(Spec):
    """F6, F7: 1/2 (prod_i w_i - 1)^2 over `depth` scalar factors."""

    kind: Literal["scalar_net"]
    depth: Annotated[int, Field(ge=2, le=64)] = 2


class RiverValley(Spec):
    """(k0/k1)(cosh(sqrt(k1) a) - 1) + 1/2 sum_i eigenvalue_i b_i^2: a steep wall and a flat river."""

    kind: Literal["river_valley"]
    k0: PositiveFloat = 1.0
    k1: PositiveFloat = 1.0
    eigenvalues: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1, max_length=100_000, strict=False)]


class QuadraticThenExponential(Spec):
    """F8: w^2 for |w| <= 1, 2 exp(|w| - 1) - 1 outside."""

    kind: Literal["quadratic_then_exponential"]


class FlatThenExponential(Spec):
    """F9: h1 w^2/2 + 1/2 for |w| <= 1/sqrt(h1), exp(sqrt(h1) |w| - 1) outside; the optimum is 1/2."""

    kind: Literal["flat_then_exponential"]
    h1: PositiveFloat = 1.0


AnalyticFunction = Annotated[
    Quadratic
    | Cosh
    | Power
    | Exponential
    | InversePower
    | Logistic
    | ScalarNet
    | RiverValley
    | QuadraticThenExponential
    | FlatThenExponential,
    Field(discriminator="kind"),
]


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
        if sum(value is not None for value in (self.gap, self.point, self.per_block)) != 1:
            raise ValueError("exactly one of gap, point, per_block")
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
    start: Start
    stop: Stop | None = None
    budget: AnalyticBudget
    dtype: Literal["float64", "float32"] = "float64"
    gradient_clip_norm: PositiveFloat | None = None


Workload = Annotated[Classification | LanguageModel | Analytic, Field(discriminator="task")]

"""The loop on text: what it trains on, what it reports, and that packs, probes and resumption change nothing."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from schemas.optimizers import AdamW
from schemas.probes import SecantSmoothness, Sharpness
from schemas.trials import Outcome, ProbePoints
from schemas.workloads import GPT, Budget, CrossEntropy, Evaluation, LanguageModel, PyDoc
from workers.data import windows
from workers.data.texts import TextArrays, frozen_text
from workers.science.batches import DataOrder
from workers.science.datasets import DataArrays
from workers.science.registry import build_model
from workers.science.streams import generator
from workers.science.trainer import PackTrainer

CONTEXT = 8
VOCABULARY = 11
ADAMW = AdamW(kind="adamw", weight_decay=0.1)


@pytest.fixture(scope="module")
def text() -> TextArrays:
    """1,200 characters, each of which says much of the next one."""
    random = np.random.default_rng(0)
    likely = random.permutation(VOCABULARY)
    tokens = [0]
    for is_likely, other in zip(random.random(1199) < 0.7, random.integers(0, VOCABULARY, 1199), strict=True):
        tokens.append(int(likely[tokens[-1]]) if is_likely else int(other))
    return frozen_text(np.array(tokens, np.uint8), VOCABULARY, "made up")


@pytest.fixture(scope="module")
def data(text: TextArrays) -> DataArrays:
    return arrays(text)


def arrays(text: TextArrays, **options: int) -> DataArrays:
    return DataArrays(**windows(text, CONTEXT, **options), num_classes=VOCABULARY, sha256=text.sha256)


def language(steps: int = 30, **fields: object) -> LanguageModel:
    defaults = {
        "model": GPT(kind="gpt", layers=1, heads=2, width=8, context=CONTEXT, last_norm=True),
        "dataset": PyDoc(kind="pydoc"),
        "loss": CrossEntropy(kind="cross_entropy"),
        "batch_size": 6,
        "budget": Budget(steps=steps),
        "evaluation": Evaluation(every_steps=10),
    }
    return LanguageModel(task="language_model", **(defaults | fields))  # type: ignore[arg-type]


def rows_of(done: SimpleNamespace, make: SimpleNamespace, spec: object, column: str = "train_loss") -> np.ndarray:
    return make.of_trial(done.tables["steps"], spec.trial_id, column)  # type: ignore[attr-defined]


def test_training_equals_torch_s_optimizer_on_the_same_windows(make, data):
    workload = language(40, precision="float64")
    spec = make.trial(workload, ADAMW, 1e-2, seed=make.seed(3), schedule=make.schedule(10))
    ours = make.run(make.pack(make.trial(workload, ADAMW, 1e-3), spec), data)

    model = build_model(workload.model, (CONTEXT,), VOCABULARY)
    params = model.init(generator(3, "initialization"), torch.float64)
    leaves = {name: tensor.requires_grad_() for name, tensor in params.items()}
    optimizer = torch.optim.AdamW(leaves.values(), 1.0, weight_decay=0.1, foreach=False)
    order = DataOrder(3, len(data.train_y)).positions(0, 40 * 6).view(40, 6)
    losses = []
    for rate, index in zip(rows_of(ours, make, spec, "lr"), order, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        inputs, targets = torch.tensor(data.train_x)[index], torch.tensor(data.train_y)[index]
        outputs = model.apply(leaves, inputs).flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(outputs, targets.flatten().long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(rows_of(ours, make, spec), losses, rtol=1e-9)

    with torch.no_grad():
        outputs = model.apply(leaves, torch.tensor(data.validation_x))
        targets = torch.tensor(data.validation_y).long()
    final = ours.results[1].final
    expected = torch.nn.functional.cross_entropy(outputs.flatten(0, 1), targets.flatten()).item()
    assert final["validation_loss"] == pytest.approx(expected, rel=1e-9)
    assert final["validation_accuracy"] == pytest.approx((outputs.argmax(-1) == targets).double().mean().item())


@pytest.mark.proof
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_packed_and_solo_agree_to_1e_5_over_200_stable_steps_in_float32(make, data, norm):
    model = GPT(kind="gpt", layers=1, heads=2, width=8, context=CONTEXT, norm=norm)
    workload = language(200, model=model, evaluation=Evaluation(every_steps=200))
    trials = [
        make.trial(workload, ADAMW, 3e-3 / (1 + i), seed=make.seed(i), schedule=make.schedule(20 * i)) for i in range(2)
    ]
    packed = make.run(make.pack(*trials, size=3, chunk=50), data)
    solo = make.run(make.pack(trials[1], chunk=50), data)
    np.testing.assert_allclose(rows_of(packed, make, trials[1]), rows_of(solo, make, trials[1]), rtol=1e-5)


def test_the_reference_is_the_unigram_entropy_of_what_is_trained_on(make, data):
    workload = language(80, evaluation=Evaluation(every_steps=80))
    idle, useful = make.trial(workload, ADAMW, 1e-12), make.trial(workload, ADAMW, 3e-2)
    stalled, trained = make.run(make.pack(idle, useful, chunk=80), data).results
    share = np.bincount(data.train_y.ravel(), minlength=VOCABULARY) / data.train_y.size
    entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
    assert stalled.reference_loss == trained.reference_loss == pytest.approx(entropy, rel=1e-12)
    assert stalled.start_loss == pytest.approx(math.log(VOCABULARY), abs=0.05)
    assert (stalled.outcome, trained.outcome) == (Outcome.STALLED, Outcome.TRAINED)


def test_probes_change_no_bit_of_the_training(make, data):
    probes = (
        Sharpness(kind="sharpness", every_steps=5),
        SecantSmoothness(kind="secant_smoothness", every_steps=5, batch={"size": 4, "count": 2}),
    )
    points = {
        "sharpness": ProbePoints(steps=(0, 5), hvps_allowed=24),
        "secant_smoothness": ProbePoints(steps=(0, 5)),
    }
    trials = [make.trial(language(10), ADAMW, 1e-2, seed=make.seed(i)) for i in range(2)]
    plain = make.run(make.pack(*trials), data)
    probed = make.run(make.pack(*trials, probes=probes, points=points), data)
    for table in ("steps", "evaluations"):
        for column, values in plain.tables[table].items():
            assert values.tobytes() == probed.tables[table][column].tobytes() or column == "trial_id"
    read = probed.tables["probes"]
    assert len(read["value"]) == 2 * 2 * 2
    assert np.isfinite(read["value"]).all()
    assert set(read["batch_size"]) == {6, 4}


def test_a_run_taken_up_again_gives_the_bits_of_one_that_was_never_stopped(make, data):
    trials = [make.trial(language(25), ADAMW, 1e-2, seed=make.seed(i)) for i in range(2)]
    whole = make.run(make.pack(*trials), data)
    first = PackTrainer(make.pack(*trials), data)
    chunks = [first.run_chunk(), first.run_chunk()]
    second = PackTrainer(make.pack(*trials), data)
    second.load_state_dict(first.state_dict())
    while not second.done:
        chunks.append(second.run_chunk())
    for table in ("steps", "evaluations"):
        for column, values in whole.tables[table].items():
            if column != "trial_id":
                assert values.tobytes() == make.joined(chunks)[table][column].tobytes()
    assert repr(second.results()) == repr(whole.results)


def test_tokens_examples_and_epochs_are_resolved_to_steps(make, data, text):
    num_windows = len(data.train_y)
    assert num_windows == (1080 - 1) // CONTEXT
    for budget, steps in (
        (Budget(tokens=6 * CONTEXT * 3 + 1), 4), (Budget(examples=13), 3), (Budget(epochs=1), -(-num_windows // 6)),
    ):  # fmt: skip
        spec = make.trial(language(1).model_copy(update={"budget": budget}))
        assert PackTrainer(make.pack(spec), data).total_steps == steps
    assert len(arrays(text, subset=5).train_y) == 5


@pytest.mark.parametrize(
    "recipe",
    [
        {"accumulation": 2, "batch_size": 3},
        {"precision": "bfloat16_autocast"},
        {"average": {"kind": "ema", "decay": 0.9}},
        {"sampling": "replacement"},
        {"dropout": 0.2},
    ],
    ids=lambda recipe: next(iter(recipe)),
)
def test_every_recipe_trains_a_text(make, data, recipe):
    changes = {name: value for name, value in recipe.items() if name != "dropout"}
    model = language().model.model_copy(update={"dropout": recipe.get("dropout", 0.0)})
    plain = make.trial(language(4), ADAMW, 1e-2)
    workload = LanguageModel.model_validate({**plain.workload.model_dump(), **changes, "model": model.model_dump()})
    with_it = make.trial(workload, ADAMW, 1e-2)
    read, without = (rows_of(make.run(make.pack(spec), data), make, spec) for spec in (with_it, plain))
    assert np.isfinite(read).all()
    if "accumulation" in recipe:  # the same windows, in two halves
        np.testing.assert_allclose(read, without, rtol=1e-5)
    elif recipe.keys() & {"precision", "dropout", "sampling"}:
        np.testing.assert_allclose(read, without, rtol=0.1)
        assert (read != without).any()
    else:  # what is evaluated, not what is trained
        assert read.tobytes() == without.tobytes()


def test_a_full_batch_is_every_window(make, data):
    workload = language(3, batch_size="full", precision="float64")
    spec, other = make.trial(workload, ADAMW, 1e-4), make.trial(workload, ADAMW, 1e-4, seed=make.seed(1))
    done = make.run(make.pack(spec, other), data)
    assert rows_of(done, make, spec)[0] == pytest.approx(done.results[0].start_loss, rel=1e-12)

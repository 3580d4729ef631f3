"""Own parts of a language model: own windows as our text, own nets in the same loop, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from schemas.catalog import num_train_examples
from schemas.errors import SpecError
from schemas.plugins import PluginDataset, PluginModel
from schemas.study import parse_study
from schemas.trials import Member, Outcome, PackTask, total_steps
from schemas.workloads import GPT, Budget, CrossEntropy, Evaluation, LanguageModel, PyDoc
from tests.plugins import text_parts
from tests.schemas.conftest import changed
from tests.science.conftest import pack, run, seed, trial
from workers.data import examples_of
from workers.data.own import load_own
from workers.data.texts import frozen_text
from workers.inspection.study import inspect_study, part_facts
from workers.planning import expand_trials, plan_packs
from workers.planning.facts import operations_per_example
from workers.plugins import use_files
from workers.science.batches import DataOrder
from workers.science.datasets import DataArrays
from workers.science.own.examining import examine
from workers.science.streams import generator

CONTEXT, VOCABULARY = 5, text_parts.VOCABULARY
TEXT = frozen_text(text_parts.text(1200).astype(np.uint8), VOCABULARY, "made up")
OURS = GPT(kind="gpt", layers=1, heads=2, width=8, context=CONTEXT)


@pytest.fixture(autouse=True, scope="module")
def _files():
    torch.set_num_threads(1)
    use_files([Path(text_parts.__file__)])
    load_own.cache_clear()
    yield
    use_files([])


def own_model(name, **options):
    return PluginModel(kind="plugin", name=name, options={"context": CONTEXT, **options})


def own_windows(**options):
    return PluginDataset(kind="plugin", name="windows", options=options)


def language(steps=30, **fields):
    defaults = {"model": OURS, "dataset": PyDoc(kind="pydoc"), "batch_size": 6, "budget": Budget(steps=steps)}
    defaults |= {"loss": CrossEntropy(kind="cross_entropy"), "evaluation": Evaluation(every_steps=10)}
    return LanguageModel(task="language_model", **(defaults | fields))


def data_of(workload):
    arrays = load_own(workload.dataset) if isinstance(workload.dataset, PluginDataset) else TEXT
    return DataArrays(**examples_of(workload, arrays), num_classes=arrays.num_classes, sha256=arrays.sha256)


def trained(workload, peak_lr=0.05, **more):
    specs = [trial(workload, peak_lr=peak_lr, seed=seed(number)) for number in (0, 1)]
    return run(pack(*specs, **more), data_of(workload))


def test_own_windows_train_a_model_of_ours_as_a_text_does_bit_for_bit():
    ours, own = trained(language()), trained(language(dataset=own_windows()))
    for table in ("steps", "evaluations"):
        for column, values in ours.tables[table].items():
            assert column == "trial_id" or own.tables[table][column].tobytes() == values.tobytes(), column
    assert [repr(one.final) for one in own.results] == [repr(one.final) for one in ours.results]


def test_an_own_net_is_trained_as_in_the_loop_that_one_writes_oneself():
    workload = language(25, model=own_model("bigram"), precision="float64")
    data = data_of(workload)
    ours = trained(workload, 0.5)
    torch.manual_seed(generator(0, "initialization").initial_seed())
    net = text_parts.bigram(CONTEXT).double()
    moves = torch.optim.SGD(net.parameters(), 0.5, momentum=0.9)
    losses = []
    for index in DataOrder(0, len(data.train_y)).positions(0, 25 * 6).view(25, 6):
        x, y = torch.tensor(data.train_x)[index], torch.tensor(data.train_y)[index].long()
        loss = nn.functional.cross_entropy(net(x).flatten(0, 1), y.flatten())
        moves.zero_grad()
        loss.backward()
        moves.step()
        losses.append(float(loss.detach()))
    np.testing.assert_allclose(ours.tables["steps"]["train_loss"][:25], losses, rtol=1e-9)


def test_it_is_better_than_the_best_answer_that_looks_at_nothing():
    workload = language(150, model=own_model("bigram"))
    [first, _] = trained(workload, 1.0, chunk=150).results
    share = np.bincount(TEXT.train, minlength=VOCABULARY) / len(TEXT.train)
    assert first.reference_loss == pytest.approx(-(share * np.log(share)).sum(), abs=0.01)
    assert first.outcome is Outcome.TRAINED
    assert first.final["validation_accuracy"] > 0.5


@pytest.mark.parametrize(
    ("name", "options", "unstacked"),
    [
        ("Reader", {}, ""),
        ("Reader", {"p": 0.5}, "dropout in Reader"),
        ("Recurrent", {}, "torch.func.vmap refuses Recurrent (Batching rule not implemented for aten::gru"),
    ],
)
def test_stacked_where_vmap_takes_it_and_alone_where_not(name, options, unstacked):
    workload = language(20, model=own_model(name, **options), precision="float64")
    facts = examine(workload, data_of(workload), needs_hvp=True)
    assert (facts.no_hvp, facts.output_size) == ("", CONTEXT * VOCABULARY)
    assert facts.unstacked.startswith(unstacked)
    assert bool(facts.unstacked) == bool(unstacked)
    spec = trial(workload)
    alone = run(PackTask("pack", 1, (Member(0, spec, {}),), (), chunk_steps=7, stacked=False), data_of(workload))
    assert np.isfinite(alone.tables["steps"]["train_loss"]).all()
    if not unstacked:
        stacked = trained(workload, 0.1).tables["steps"]
        mine = stacked["train_loss"][stacked["trial_id"] == spec.trial_id]
        np.testing.assert_allclose(mine, alone.tables["steps"]["train_loss"], rtol=1e-9)


def test_a_large_vocabulary_is_read_whole_and_evaluated_in_part():
    workload = language(dataset=own_windows(vocabulary=300, size=60_000), model=own_model("bigram", vocabulary=300))
    data = data_of(workload)
    assert (data.train_x.dtype, data.train_y.dtype) == (np.int64, np.int32)
    assert (len(data.train_y), len(data.validation_y)) == (53_999 // 5, 2_999 // 5)
    longer = language(dataset=own_windows(vocabulary=300, size=600_000), model=own_model("bigram", vocabulary=300))
    assert len(data_of(longer).validation_y) == 16_384 // CONTEXT


def document(**workload):
    fields = {"task": "language_model", "model": plugin("bigram", context=CONTEXT), "dataset": plugin("windows")}
    return changed(workloads__0={**changed()["workloads"][0], "batch_size": 6, **fields, **workload})


def plugin(name, **options):
    return {"kind": "plugin", "name": name, "options": options}


def test_a_study_of_own_parts_alone_is_planned_in_tokens(tmp_path):
    study = parse_study(document(budget={"tokens": 6 * CONTEXT * 4}))
    own = inspect_study(study, tmp_path)
    study, facts = study.pinned(own.sources()), {row.kind: row for row in own.datasets}
    [workload] = [variant.spec for variant in study.variants("workloads")]
    trials = expand_trials(study, facts, own=own)
    assert total_steps(workload, facts["plugin:windows"]) == 4
    assert num_train_examples(workload, facts["plugin:windows"]) == 1079 // CONTEXT
    assert operations_per_example(workload, facts["plugin:windows"], own) == 6 * VOCABULARY**2 * CONTEXT
    assert all(pack.size > 1 and not pack.unstacked for pack in plan_packs(trials, facts, own=own, device_class="cpu"))


REFUSED = {
    "no context": (
        {"model": plugin("bigram")},
        r"workloads\[0\]\.model: got .*, allowed one whose option `context`, an integer of 1 or more, says how many",
    ),
    "a context that is none": (
        {"model": plugin("bigram", context=True)},
        r"workloads\[0\]\.model: got .*, allowed one whose option `context`",
    ),
    "a loss of one's own": ({"loss": plugin("squared")}, r"workloads\[0\]\.loss.*allowed .*cross_entropy"),
    "windows of another length": (
        {"dataset": plugin("windows", context=4)},
        r"data set windows: train: got x int64 \[\d+, 4\] and y .*, allowed whole numbers \[n, 5\], the model's",
    ),
    "one label for a window": (
        {"dataset": plugin("windows", labels=True)},
        r"data set windows: train: got x int64 \[215, 5\] and y int64 \[215\]",
    ),
    "tokens that are never predicted": (
        {"dataset": plugin("windows", shift=1)},
        r"data set windows: train: got tokens 1 to 7 in x, allowed 0 to 6: those that are predicted, in y, are the",
    ),
    "outputs of another vocabulary": (
        {"model": plugin("bigram", context=CONTEXT, vocabulary=9)},
        r"model bigram: got outputs of shape \[8, 5, 9\], allowed \[8, 5, 7\]: one for each of 7 classes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_by_name(case, tmp_path):
    fields, said = REFUSED[case]
    with pytest.raises(SpecError, match=said):
        inspect_study(parse_study(document(**fields)), tmp_path)


def test_a_server_that_looked_at_the_data_alone_says_which_context_it_has():
    study = parse_study(document(model={"kind": "gpt", "context": 4}))
    source = part_facts("datasets", "windows").source
    facts = load_own(own_windows()).facts("plugin:windows")
    with pytest.raises(SpecError, match=r"model\.context: got 4, allowed 5, the tokens in a window of plugin:windows"):
        expand_trials(study.pinned([source]), {facts.kind: facts})

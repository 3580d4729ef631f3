"""A text in the plan: windows for examples, tokens for budgets, and contexts that no part can hold."""

import pytest

from schemas.catalog import DatasetFacts, num_train_examples
from schemas.errors import DataMissing, SpecError
from schemas.study import parse_study
from schemas.trials import steps_known, total_steps
from workers.planning import expand_trials, measurement_plans, plan_packs
from workers.planning.facts import model_kind, num_parameters, operations_per_example

TEXT = DatasetFacts(
    kind="pydoc", sha256="d" * 64, num_train=10_001, num_validation=501, num_test=401, num_classes=97,
    input_shape=(), reference_loss=3.2,
)  # fmt: skip
FACTS = {"pydoc": TEXT}


@pytest.fixture
def text(small):
    """A study's document on text, its workload changed at the top."""

    def build(**workload):
        language = {"task": "language_model", "model": {"kind": "gpt"}, "dataset": {"kind": "pydoc"}, "batch_size": 8}
        return small(workload={"name": "text", **language, **workload})

    return build


def workload_of(document):
    return next(parse_study(document).variants("workloads")).spec


@pytest.mark.parametrize(
    ("fields", "steps", "is_known"),
    [
        ({"budget": {"tokens": 8 * 64 * 3}}, 3, True),
        ({"budget": {"tokens": 8 * 64 * 3 + 1}}, 4, True),
        ({"budget": {"examples": 17}}, 3, True),
        ({"budget": {"epochs": 2}}, 39, False),  # 156 windows
        ({"budget": {"tokens": 156 * 64 * 2}, "batch_size": "full"}, 2, False),
        ({"budget": {"epochs": 1}, "dataset": {"kind": "pydoc", "subset": 9}}, 2, False),
    ],
)
def test_budgets_of_text_in_updates(text, fields, steps, is_known):
    workload = workload_of(text(**{**fields, "dataset": {"kind": "pydoc"}}))
    subset = fields.get("dataset", {}).get("subset")
    workload = workload.model_copy(update={"dataset": workload.dataset.model_copy(update={"subset": subset})})
    assert total_steps(workload, TEXT) == steps
    assert steps_known(workload) == (steps if is_known else None)


def test_examples_are_windows_that_have_a_character_after_them(text):
    for context, num in ((1, 10_000), (64, 156), (10_000, 1)):
        workload = workload_of(text(model={"kind": "gpt", "context": context}))
        assert num_train_examples(workload, TEXT) == num


@pytest.mark.parametrize("fields", [{}, {"batch_size": "full", "budget": {"epochs": 1}}])
def test_a_context_that_a_part_cannot_hold_is_refused(text, fields):
    documents = [text(model={"kind": "gpt", "context": context}, **fields) for context in (400, 401)]
    assert expand_trials(parse_study(documents[0]), FACTS)
    with pytest.raises(
        SpecError, match=r"workloads\[0\]\.model\.context: got 401, allowed at most 400, the characters"
    ):
        expand_trials(parse_study(documents[1]), FACTS)


def test_batches_larger_than_the_text_are_refused(text):
    with pytest.raises(SpecError, match=r"batch_size: got 157, allowed at most 156, the training examples of pydoc"):
        expand_trials(parse_study(text(batch_size=157)), FACTS)


def test_probe_batches_are_counted_in_training_batches_of_windows(text):
    probes = [{"kind": "secant_smoothness", "every_steps": 100, "batch": {"size": 32}}]
    study = parse_study({**text(budget={"steps": 400}), "probes": probes, "probe_budget": 1.0})
    trials = expand_trials(study, FACTS)
    [plan] = measurement_plans(trials, study.fields, FACTS).values()
    assert plan.gradients == 4 * 2 * 32 / 8


def test_packs_chunks_and_operations_of_the_character_model(text):
    document = text(model={"kind": "gpt", "layers": 3, "width": 32, "context": 16}, budget={"steps": 50})
    trials = expand_trials(parse_study({**document, "seeds": {"count": 20}}), FACTS)
    packs = plan_packs(trials, FACTS, device_class="cpu")
    assert {pack.size for pack in packs} == {8}
    assert model_kind(trials[0].workload) == "gpt"
    parameters = num_parameters(trials[0].workload, TEXT)
    attention = 3 * 2 * 2 * 16 * 32 * 3  # scores and reads of a token, each 2 x 16 x 32, forward and twice backward
    assert operations_per_example(trials[0].workload, TEXT) == 16 * (6 * parameters + attention)


def test_a_text_that_no_catalog_vouches_for_says_which_command_gets_it(text):
    shakespeare = text(dataset={"kind": "tinyshakespeare"})
    with pytest.raises(DataMissing, match="`warmup-bench data fetch tinyshakespeare` gets it"):
        expand_trials(parse_study(shakespeare), FACTS)
    with pytest.raises(DataMissing, match=r"this Python has no pydoc_data\.topics"):
        expand_trials(parse_study(text()), {})

"""Whatever valid study is stated: its resolved form is the same study, and its count is its number of trials."""

import copy

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas.catalog import DatasetFacts
from schemas.json_schema import study_json_schema
from schemas.study import parse_study
from service.spec_files import parse_document
from workers.results.write import as_yaml

FACTS = DatasetFacts(
    kind="digits", sha256="d" * 64, num_train=1149, num_validation=288, num_test=360, num_classes=10,
    input_shape=(64,), reference_loss=2.302,
)  # fmt: skip
VALIDATOR = Draft202012Validator(study_json_schema())

unit = st.floats(0, 0.99)
rate = st.floats(1e-8, 1e3)
names = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._+=,\- ]{0,12}\Z")


def maybe_swept(values):
    return values | st.lists(values, min_size=1, max_size=2, unique_by=repr).map(lambda chosen: {"sweep": chosen})


def mapping(required, optional):
    return st.fixed_dictionaries(required, optional=optional)


lengths = st.sampled_from([("steps", 0), ("steps", 7), ("fraction", 0.25), ("fraction", 1.0)])
warmups = (
    st.just({"kind": "none"})
    | lengths.map(lambda said: {"kind": "linear", said[0]: said[1]})
    | st.tuples(lengths, st.floats(0.1, 5)).map(
        lambda said: {"kind": "exponential_convex", said[0][0]: said[0][1], "alpha": said[1]}
    )
)
decays = st.just({"kind": "constant"}) | mapping({"kind": st.sampled_from(["cosine", "linear"])}, {"floor": unit})
peak_lrs = st.lists(rate, min_size=1, max_size=3, unique_by=lambda value: f"{value:.11e}").map(
    lambda values: {"values": values}
) | st.integers(2, 4).map(lambda count: {"grid": {"low": 0.01, "high": 1, "count": count}})
workloads = mapping(
    {
        "task": st.just("classification"),
        "model": mapping({"kind": st.just("mlp")}, {"activation": st.sampled_from(["tanh", "relu"])}),
        "dataset": st.just({"kind": "digits"}),
        "loss": st.just({"kind": "cross_entropy"}),
        "budget": st.sampled_from([{"steps": 40}, {"epochs": 1}, {"examples": 3000}]),
    },
    {"batch_size": maybe_swept(st.sampled_from([8, 16, "full"])), "precision": maybe_swept(st.just("float64"))},
) | st.just(
    {"task": "analytic", "function": {"kind": "cosh"}, "start": {"gap": 2}, "budget": {"steps": {"sweep": [9, 10]}}}
)
optimizers = mapping({"kind": st.just("sgd")}, {"momentum": maybe_swept(unit), "peak_lrs": peak_lrs}) | mapping(
    {"kind": st.sampled_from(["adam", "adamw"])},
    {"betas": st.tuples(unit, unit).map(list), "weight_decay": maybe_swept(unit)},
)
schedules = mapping({"warmup": maybe_swept(warmups), "decay": maybe_swept(decays)}, {"peak_lrs": peak_lrs})
seeds = st.integers(1, 3).map(lambda count: {"count": count}) | st.lists(
    st.integers(0, 9), min_size=1, max_size=3, unique=True
)


def named(axis):
    return st.lists(axis, min_size=1, max_size=2).map(
        lambda items: [{**copy.deepcopy(item), "name": f"item {index}"} for index, item in enumerate(items)]
    )


studies = mapping(
    {
        "schema_version": st.just(1),
        "name": names,
        "workloads": named(workloads),
        "optimizers": named(optimizers),
        "schedules": named(schedules),
        "peak_lrs": peak_lrs,
    },
    {"seeds": seeds, "description": st.text("ab é:#'\"\n-", max_size=20)},
)


@settings(max_examples=60, deadline=None)
@given(document=studies)
def test_a_resolved_study_is_the_same_study(document):
    stated = copy.deepcopy(document)
    study = parse_study(document)
    assert document == stated, "parsing changes nothing of what it was given"
    VALIDATOR.validate(document)
    VALIDATOR.validate(dict(study.resolved))
    again = parse_study(parse_document(as_yaml(study.resolved)))
    assert again.spec_hash == study.spec_hash
    one, other = (list(parsed.trials({"digits": FACTS})) for parsed in (study, again))
    assert [(t.trial_id, t.names, t.swept) for t in one] == [(t.trial_id, t.names, t.swept) for t in other]
    assert study.num_trials() == len(one)

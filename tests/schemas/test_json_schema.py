"""The exported JSON Schema accepts what the program accepts, and refuses what a schema can express."""

from pathlib import Path

import jsonschema
import pytest

from schemas.json_schema import study_json_schema
from schemas.presets import preset_names, preset_text
from schemas.study import parse_study
from service.spec_files import parse_document

VALIDATOR = jsonschema.Draft202012Validator(study_json_schema())
EXAMPLES = Path(__file__).parents[3] / "shared" / "design"


def test_it_is_a_schema_of_its_dialect():
    jsonschema.Draft202012Validator.check_schema(study_json_schema())


@pytest.mark.parametrize("name", preset_names())
def test_presets_validate_as_stated_and_as_resolved(name):
    document = parse_document(preset_text(name))
    VALIDATOR.validate(document)
    VALIDATOR.validate(dict(parse_study(document).resolved))


@pytest.mark.parametrize("name", ["study-example.yaml", "study-example-analytic.yaml"])
def test_the_contract_s_examples_validate(name):
    if not (EXAMPLES / name).exists():
        pytest.skip("shared/design is not beside this checkout")
    VALIDATOR.validate(parse_document((EXAMPLES / name).read_bytes()))


BAD = {
    "unknown field": {"optimzers": [1]},
    "unknown field inside": {"workloads__0__batchsize": 4},
    "wrong kind": {"optimizers__0__kind": "adamx"},
    "kind that is not built": {"schedules__0__warmup": {"kind": "polyak"}},
    "empty axis": {"schedules": []},
    "rate of zero": {"peak_lrs": {"values": [0]}},
    "rate below zero": {"optimizers__0__peak_lrs": {"values": [-0.1]}},
    "rate that is a text": {"peak_lrs": {"values": ["NaN"]}},
    "fraction beyond the run": {"schedules__0__warmup": {"kind": "linear", "fraction": 1.5}},
    "empty sweep": {"optimizers__0__momentum": {"sweep": []}},
    "sweep of a bad value": {"optimizers__0__momentum": {"sweep": [0.5, 2.0]}},
    "sweep inside a sweep": {"optimizers__0__momentum": {"sweep": [{"sweep": [0.5]}]}},
    "sweep of a name": {"optimizers__0__name": {"sweep": ["a", "b"]}},
    "sweep of rates": {"optimizers__0__peak_lrs": {"sweep": [{"values": [0.1]}]}},
    "sweep outside the axes": {"seeds": {"sweep": [1]}},
    "integer beyond JSON": {"seeds": [2**53]},
    "no seeds": {"seeds": {"count": 0}},
    "hostile name": {"name": "../../etc/passwd"},
    "other version": {"schema_version": 2},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_what_a_schema_can_express_is_refused(study, change):
    assert VALIDATOR.is_valid(study())
    assert not VALIDATOR.is_valid(study(**change))


@pytest.mark.parametrize(
    "change",
    [
        {"optimizers__0": {"kind": "adam", "betas": [0.9, {"sweep": [0.9, 0.99]}]}},
        {"optimizers__0": {"kind": {"sweep": ["sgd", "adam"]}}},
        {"workloads__0__model__widths": [{"sweep": [8, 16]}, 4]},
        {"workloads__0__model": {"sweep": [{"kind": "mlp"}, {"kind": "mlp", "widths": [4]}]}},
        {"workloads__0__gradient_clip_norm": {"sweep": [None, 1.0]}},
        {"schedules__0__warmup": {"sweep": [{"kind": "none"}, {"kind": "linear", "steps": 5}]}},
    ],
)
def test_sweeps_may_stand_at_any_value_of_the_axes(study, change):
    parse_study(study(**change))
    VALIDATOR.validate(study(**change))

"""Values with NaN and infinities pass through strict JSON text unchanged."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ledger.making import finish, planned
from workers.ledger.codec import decode, encode

SPELLINGS = st.from_regex(r"=*(NaN|-?Infinity)", fullmatch=True)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | SPELLINGS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


def same(left, right):
    """Equal in type and value, NaN equal to NaN."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and (left == right or (left != left and right != right))


@given(VALUES)
def test_every_value_reads_back_as_it_was(value):
    assert same(value, decode(encode(value)))


@given(VALUES)
def test_the_text_is_strict_json(value):
    def refuse(constant):
        raise AssertionError(constant)

    json.loads(encode(value), parse_constant=refuse)


def test_what_json_cannot_hold_is_refused():
    with pytest.raises(TypeError):
        encode({"value": object()})


def test_a_summary_with_non_finite_numbers_reads_back_from_every_backend(ledger):
    study_id, fence, pack_ids = planned(ledger)
    summary = {"final": {"loss": math.nan, "x": math.inf}, "best": [-math.inf, 0.1, 1e-310], "why": "NaN", "none": None}
    finish(ledger, study_id, fence, pack_ids, **summary)
    assert all(same(trial.summary, summary) for trial in ledger.trials(study_id))

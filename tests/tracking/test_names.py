"""Keys and texts fit into MLflow, stay apart, and say what was cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.tracking.names import MAX_KEY_LENGTH, fit_key, fit_text


@pytest.mark.parametrize("key", ["train_loss", "optimizer.weight_decay", "a/b c-d", "потеря"])
def test_a_key_that_mlflow_takes_is_left_alone(key):
    assert fit_key(key) == key


@pytest.mark.parametrize("key", ["a+b", "", ".", "..", "/x", "a//b", "a/../b", "x" * 251, "a:b", "a\nb", "x/"])
def test_any_other_key_becomes_one_that_mlflow_takes(key):
    from mlflow.utils.validation import _validate_metric_name

    _validate_metric_name(fit_key(key))
    assert len(fit_key(key)) <= MAX_KEY_LENGTH


@given(st.text(max_size=300))
def test_every_key_is_taken_and_fits_only_once(key):
    from mlflow.utils.validation import _validate_metric_name

    _validate_metric_name(fit_key(key))
    assert len(fit_key(key)) <= MAX_KEY_LENGTH
    assert fit_key(fit_key(key)) == fit_key(key)


@given(st.lists(st.text(alphabet="ab+=/", min_size=1, max_size=5), unique=True))
def test_different_keys_stay_different(keys):
    assert len({fit_key(key) for key in keys}) == len(keys)


def test_a_text_that_fits_is_left_alone():
    assert fit_text("x" * 100, 100) == "x" * 100


def test_a_longer_text_keeps_its_beginning_and_says_what_was_cut():
    text = fit_text("x" * 101, 100)
    assert len(text) == 100
    assert text.startswith("x") and "[cut: 101 characters, sha256 " in text  # noqa: PT018 - one sentence

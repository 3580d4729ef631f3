"""A checkpoint gives back the whole state bit for bit, or says that it cannot."""

import math
from collections.abc import Callable
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from schemas.errors import CorruptRecord
from workers.records import RecordStore, checkpoints, up_to

DTYPES = ["float32", "float64", "int64", "int32", "uint8", "bool", "uint64", "complex64", "<U5"]
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**130), 2**130) | st.floats() | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def assert_same(found: Any, expected: Any) -> None:
    """Equal in type, in shape and in every bit."""
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray | np.generic):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, float):
        assert (
            math.isnan(found)
            if math.isnan(expected)
            else (found, math.copysign(1, found)) == (expected, math.copysign(1, expected))
        )
    else:
        assert found == expected


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=5))
def test_any_state_comes_back_bit_for_bit(state: dict[str, Any]) -> None:
    assert_same(checkpoints.decode(checkpoints.encode(state)), state)


def test_nan_infinities_and_generator_states_come_back(store: RecordStore) -> None:
    generator = np.random.default_rng(7)
    state = {
        "params": np.array([[np.nan, np.inf], [-np.inf, -0.0]], dtype=np.float32),
        "best": float("inf"),
        "last": float("nan"),
        "position": 120,
        "masks": [[True, False], []],
        "stream": generator.bit_generator.state,
        "scalar": np.float64(0.1),
        "params/weird name": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    }
    assert_same(store.load_checkpoint(store.save_checkpoint("p", 0, 120, state)), state)


def test_the_same_state_gives_the_same_bytes() -> None:
    state = {"a": np.arange(5.0), "b": [1, float("nan")]}
    assert checkpoints.encode(state) == checkpoints.encode(state)


def test_a_second_checkpoint_of_a_step_leaves_the_first(store: RecordStore) -> None:
    first = store.save_checkpoint("p", 0, 5, {"value": 1})
    second = store.save_checkpoint("p", 0, 5, {"value": 2})
    assert (store.load_checkpoint(first), store.load_checkpoint(second)) == ({"value": 1}, {"value": 2})


def test_a_checkpoint_names_the_last_segment_of_its_record(
    store: RecordStore, make_chunk: Callable[..., dict[str, dict[str, np.ndarray]]]
) -> None:
    writer = store.writer("p", 0)
    writer.write(0, 10, make_chunk(["a"], 0, 10))
    at_ten = writer.manifest
    checkpoint = store.save_checkpoint("p", 0, 10, {"position": 10}, at_ten)
    writer.write(10, 20, make_chunk(["a"], 10, 10))
    assert up_to(writer.manifest, checkpoint) == at_ten


@pytest.mark.parametrize(
    "state", [{"f": print}, {"x": np.array([object()])}, {"x": b"bytes"}, {"x": {1: 2}}, {"x": [{"y": {3}}]}]
)
def test_what_only_pickle_could_hold_is_refused_by_name(state: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="state"):
        checkpoints.encode(state)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-7], lambda data: data[:40] + b"\x00" + data[41:], lambda _: b""]
)
def test_a_torn_checkpoint_is_found(store: RecordStore, damage: Callable[[bytes], bytes]) -> None:
    checkpoint = store.save_checkpoint("p", 0, 5, {"params": np.arange(1000.0)})
    files, path = fsspec.core.url_to_fs(f"{store.root}/{checkpoint.name}")
    files.pipe_file(path, damage(files.cat_file(path)))
    with pytest.raises(CorruptRecord, match=r"checkpoints/5\.npz"):
        store.load_checkpoint(checkpoint)


def test_a_missing_checkpoint_is_found(store: RecordStore) -> None:
    checkpoint = store.save_checkpoint("p", 0, 5, {"value": 1})
    store.sweep("p", ())
    with pytest.raises(CorruptRecord, match="missing"):
        store.load_checkpoint(checkpoint)


def test_bytes_that_are_no_checkpoint_are_refused() -> None:
    with pytest.raises(CorruptRecord):
        checkpoints.decode(b"not an npz")

"""Which examples a probe sees."""

import numpy as np
import pytest

from schemas.probes import ProbeBatch, Sharpness
from workers.science.probes.fixed_batches import batch_id, probe_batches, probe_name


def spec(size: int | None = None, count: int = 1, name: str | None = None) -> Sharpness:
    return Sharpness(kind="sharpness", every_steps=1, name=name, batch=ProbeBatch(size=size, count=count))


def test_the_name_is_the_kind_unless_given() -> None:
    assert probe_name(spec()) == "sharpness"
    assert probe_name(spec(name="top")) == "top"


def test_size_null_is_the_training_batch_size() -> None:
    assert [len(indices) for indices in probe_batches(spec(), 1149, 64)] == [64]


def test_batches_are_the_same_every_time_and_differ_by_name() -> None:
    first, again, other = (probe_batches(spec(name=name), 1149, 64)[0] for name in ("a", "a", "b"))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_batches_are_disjoint_while_the_set_lasts() -> None:
    batches = probe_batches(spec(size=30, count=5), 100, 64)
    assert len(np.unique(np.concatenate(batches[:3]))) == 90
    assert all(len(np.unique(indices)) == 30 for indices in batches)


def test_a_batch_larger_than_the_set_is_refused() -> None:
    with pytest.raises(ValueError, match=r"probes\.sharpness\.batch\.size: got 101, allowed at most 100"):
        probe_batches(spec(size=101), 100, 64)


def test_the_id_names_examples_order_and_data_set() -> None:
    batches = probe_batches(spec(count=2), 1149, 64)
    reference = batch_id(batches, "data")
    assert reference == batch_id([indices.copy() for indices in batches], "data")
    assert (
        len({reference, batch_id(batches[::-1], "data"), batch_id(batches, "other"), batch_id(batches[:1], "data")})
        == 4
    )
    assert len(reference) == 16

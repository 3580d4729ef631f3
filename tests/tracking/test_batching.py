"""Batches hold everything, in order, and never more than MLflow takes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.tracking.batching import batches
from workers.tracking.names import MAX_BATCH_BYTES, MAX_PARAM_LENGTH
from workers.tracking.publications import MetricPoint


def points(count):
    return [MetricPoint("loss", float(step), step, step) for step in range(count)]


def pairs(count, value="v"):
    return [(f"k{number}", value) for number in range(count)]


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (999, [999]), (1_000, [1_000]), (1_001, [1_000, 1])])
def test_a_thousand_points_are_one_batch(count, sizes):
    assert [len(batch.metrics) for batch in batches(points(count))] == sizes


@pytest.mark.parametrize(("count", "sizes"), [(99, [99]), (100, [100]), (101, [100, 1])])
def test_a_hundred_parameters_or_tags_are_one_batch(count, sizes):
    assert [len(batch.params) for batch in batches([], pairs(count))] == sizes
    assert [len(batch.tags) for batch in batches([], [], pairs(count))] == sizes


@given(st.integers(0, 2_500), st.integers(0, 250), st.integers(0, 250))
def test_batches_keep_everything_in_order_within_the_limits(num_points, num_params, num_tags):
    made = list(batches(points(num_points), pairs(num_params), pairs(num_tags)))
    assert [point for batch in made for point in batch.metrics] == points(num_points)
    assert [pair for batch in made for pair in batch.params] == pairs(num_params)
    assert [pair for batch in made for pair in batch.tags] == pairs(num_tags)
    assert all(len(batch.metrics) <= 1_000 and len(batch.params) <= 100 and len(batch.tags) <= 100 for batch in made)
    assert all(0 < len(batch.metrics) + len(batch.params) + len(batch.tags) <= 1_000 for batch in made)


@pytest.mark.parametrize("character", ["x", "é", "🔥", '"'])
def test_a_batch_of_long_values_stays_under_a_megabyte(character):
    made = list(batches([], pairs(100, character * MAX_PARAM_LENGTH)))
    bodies = [
        json.dumps({"run_id": "f" * 32, "params": [{"key": key, "value": value} for key, value in batch.params]})
        for batch in made
    ]
    assert sum(len(batch.params) for batch in made) == 100
    assert max(map(len, bodies)) <= MAX_BATCH_BYTES


def test_a_key_that_mlflow_does_not_take_is_changed_on_every_point():
    (batch,) = batches([MetricPoint("sharpness+x=1", 1.0, 0, 0)])
    assert batch.metrics[0].key == "sharpness_x_1-9aca87c8"

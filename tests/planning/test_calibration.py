"""What was measured of a few steps gives the time of a whole pack."""

import json

import pytest

from tests.planning.test_estimate import packs, past
from workers.planning import time_interval
from workers.planning.calibration import SPREAD, Calibration

MEASURED = Calibration("g", 8, start_s=2.0, step_s=(0.01, 0.02), gradient_s=0.03)
LOW, HIGH = SPREAD


def test_a_pack_costs_its_start_its_steps_and_its_probes():
    # 100 steps, half a gradient equivalent of probes in each
    low, high = MEASURED.seconds(100, 1.5, (1.0, 4.0))
    assert low == pytest.approx(LOW * (2.0 + 100 * (0.01 + 0.5 * 0.03)))
    assert high == pytest.approx(HIGH * (2.0 + 100 * (0.02 + 0.5 * 0.03)))


def test_probes_that_were_not_measured_cost_a_range():
    plain = Calibration("g", 8, 0.0, (0.01, 0.01), None)
    low, high = plain.seconds(100, 1.5, (1.0, 4.0))
    assert low == pytest.approx(LOW * 100 * 0.015)
    assert high == pytest.approx(HIGH * 100 * 0.03)


def test_it_survives_json():
    assert Calibration.from_json(json.loads(json.dumps(MEASURED.to_json()))) == MEASURED


def test_a_measured_group_needs_no_past_and_does_not_ask_it():
    one = MEASURED.seconds(100, 1.0, (1.0, 4.0))
    for known in ({}, {"g": past(99.0)}):
        assert time_interval(packs(2), 1, known, calibrated={"g": MEASURED}) == pytest.approx(tuple(2 * s for s in one))


def test_another_group_still_needs_one():
    both = [*packs(1), *packs(1, group="other")]
    assert time_interval(both, 1, {}, calibrated={"g": MEASURED}) is None
    assert time_interval(both, 1, {"other": past(0.1)}, calibrated={"g": MEASURED}) is not None

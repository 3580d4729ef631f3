"""The steps of a study are counted without its trials: as many as these add up to, never more."""

import pytest

from schemas.catalog import DatasetFacts
from schemas.study import parse_study
from schemas.trials import total_steps
from tests.service.serving import DIGITS_FACTS, study

DIGITS = {"digits": DatasetFacts.model_validate(DIGITS_FACTS)}


def with_workloads(*changes, **more):
    (one,) = study()["workloads"]
    return study() | {"workloads": [one | {"name": f"w{i}"} | change for i, change in enumerate(changes)]} | more


def counted_and_added_up(document):
    parsed = parse_study(document)
    return parsed.num_steps(DIGITS), sum(
        total_steps(trial.workload, DIGITS["digits"]) for trial in parsed.trials(DIGITS)
    )


@pytest.mark.parametrize(
    "document",
    [
        with_workloads({}),
        with_workloads({"budget": {"steps": 7}}, {"budget": {"steps": 100}}),
        with_workloads({"budget": {"epochs": 3}, "batch_size": {"sweep": [16, 100, 1149]}}),
        with_workloads({"budget": {"steps": {"sweep": [10, 20, 300]}}}, {}),
        with_workloads({"budget": {"steps": 9}}, {"budget": {"examples": 640}}, link=[["schedules", "seeds"]]),
    ],
)
def test_without_a_link_to_workloads_it_is_their_sum(document):
    counted, added_up = counted_and_added_up(document)
    assert counted == added_up > 0


@pytest.mark.parametrize(
    "document",
    [
        with_workloads({"budget": {"steps": 7}}, {"budget": {"steps": 100}}, link=[["workloads", "schedules"]]),
        with_workloads({"budget": {"steps": {"sweep": [10, 300]}}}, link=[["workload.budget.steps", "seeds"]]),
    ],
)
def test_with_one_it_is_what_they_come_to_at_least(document):
    counted, added_up = counted_and_added_up(document)
    assert 0 < counted <= added_up

"""What became of a trial, at the edges of the definition."""

import pytest

from schemas.trials import Outcome
from workers.science.outcome import BUDGET, DIVERGENCE_FACTOR, STOP, outcome_of_function


@pytest.mark.parametrize(
    ("reason", "start", "final", "outcome"),
    [
        (STOP, 1e-9, 1e-9, Outcome.TRAINED),
        (STOP, 1.0, 1e-9, Outcome.TRAINED),
        (BUDGET, 1.0, 1.0, Outcome.STALLED),
        (BUDGET, 1.0, 0.9, Outcome.TRAINED),
        (DIVERGENCE_FACTOR, 1.0, 0.5, Outcome.DIVERGED),
    ],
)
def test_a_stop_that_is_met_is_training_that_came_to_its_end(reason, start, final, outcome) -> None:
    assert outcome_of_function(reason, start, final, has_gap=True) is outcome

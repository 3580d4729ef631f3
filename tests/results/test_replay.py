"""The rates of a recorded trial as the warmup of a schedule."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import warmup_bench
from schemas.warmups import ReplayWarmup


@pytest.fixture
def results():
    found = warmup_bench.Results(Path("nowhere"))
    # what `trials` and `steps` read once and keep
    found.__dict__["trials"] = pd.DataFrame({"trial_id": ["ab1", "ab2", "c"], "peak_lr": [0.5, 0.5, 0.5]})
    rows = [("ab1", 1, 0.2), ("ab1", 0, 0.1), ("ab1", 2, np.nan), ("ab2", 0, 0.4), ("c", 0, np.nan)]
    found.__dict__["steps"] = pd.DataFrame(rows, columns=["trial_id", "step", "lr"])
    return found


def test_a_trials_rates_are_a_warmup_that_a_study_takes(results):
    said = results.replay("ab1")
    assert said == {"kind": "replay", "peak_lr": 0.5, "rates": [0.1, 0.2]}
    assert ReplayWarmup.model_validate(said).end_step(100) == 2
    assert results.replay("ab2")["rates"] == [0.4]


@pytest.mark.parametrize(
    ("trial_id", "why"), [("ab", "which 2 trials have"), ("x", "which 0"), ("c", "made no update")]
)
def test_what_is_no_one_trial_that_trained_is_refused(results, trial_id, why):
    with pytest.raises(ValueError, match=why):
        results.replay(trial_id)

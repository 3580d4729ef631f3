"""The phase diagram of peak x warmup length (design/papers.md C3) by the command, from the preset to the table."""

from pathlib import Path

import pytest

import warmup_bench
from tests.e2e.commands import command
from tests.science.test_two_layer_linear import EXACT, LENGTHS, RANDOM

pytestmark = [pytest.mark.slow, pytest.mark.proof]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("phase")
    flags = ("--home", "home", "--out", "out", "--tracking-uri", "none")
    done = command("run", "kalra2024-phase", *flags, cwd=cwd)
    assert done.status == 0, done.err
    return cwd / "out"


def test_the_cells_that_diverge_are_those_of_c3(out: Path) -> None:
    trials = warmup_bench.load(out).trials
    assert len(trials) == 720
    # a linear warmup of one update and none are the same trial, and it is called none
    length = trials.warmup_steps.clip(lower=1)
    counts = (trials.outcome == "diverged").groupby([trials.lr_multiple, length]).sum()
    for multiple, row in EXACT.items():
        for steps, expected in zip(LENGTHS, row, strict=True):
            least, most = RANDOM.get((multiple, steps), (expected, expected))
            assert least <= counts[multiple, steps] <= most, (multiple, steps)


def test_each_seed_has_the_rate_of_its_own_start(out: Path) -> None:
    trials = warmup_bench.load(out).trials
    unit = trials.lr_multiple / trials.peak_lr
    by_seed = unit.groupby(trials.seed)
    assert len(by_seed) == 20
    assert (
        by_seed.max() <= by_seed.min() * (1 + 1e-12)
    ).all()  # one sharpness a seed, but for the division's last digits
    assert unit.between(1.6, 2.4).all()
    assert "multiples of 1/sharpness" in " ".join(warmup_bench.load(out).verdict.split())

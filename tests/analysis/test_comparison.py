"""Verdicts: a planted winner wins, a planted tie ties only with a margin, noise cannot be told."""

import numpy as np
import pytest

from workers.analysis.comparison import Candidate, Verdict, best_configuration, compare


def candidate(scores_KC, *, trained=None, unfinished=False):
    best = best_configuration(scores_KC, higher_is_better=False)
    trained = scores_KC.shape[1] if trained is None else trained
    return Candidate(scores_KC, best, trained, unfinished)


def verdicts(contenders, baseline, *, margin=None, higher_is_better=False):
    made = compare(contenders, baseline, higher_is_better=higher_is_better, confidence=0.95, margin=margin)
    return [None if each is None else each.verdict for each in made]


SEEDS = 0.01 * np.array([[-1.0, 0.4, 0.2, 1.1, -0.7]])
WOBBLE = 0.001 * np.array([[0.3, -0.5, 0.8, -0.2, 0.4]])


@pytest.mark.parametrize(
    ("shift", "margin", "expected"),
    [
        (-0.05, None, Verdict.WINS),
        (-0.05, 0.01, Verdict.WINS),
        (+0.05, 0.01, Verdict.LOSES),
        (0.0, 0.01, Verdict.TIES),
        (0.0, None, Verdict.CANNOT_TELL),
        (0.0, 0.0005, Verdict.CANNOT_TELL),
        (-0.004, 0.01, Verdict.TIES),
    ],
)
def test_verdict_follows_the_planted_difference(shift, margin, expected):
    baseline = candidate(0.2 + SEEDS)
    assert verdicts([candidate(0.2 + SEEDS + WOBBLE + shift)], baseline, margin=margin) == [expected]


def test_a_higher_accuracy_wins():
    baseline, better = Candidate(0.9 + SEEDS, 0, 5), Candidate(0.95 + SEEDS + WOBBLE, 0, 5)
    assert verdicts([better], baseline, higher_is_better=True) == [Verdict.WINS]


def test_pairing_by_seed_removes_what_the_seeds_share():
    comparison = compare(
        [candidate(0.2 + SEEDS + WOBBLE)],
        candidate(0.2 + SEEDS),
        higher_is_better=False,
        confidence=0.95,
        margin=None,
    )[0]
    assert comparison.sd == pytest.approx(WOBBLE.std(ddof=1))


def test_one_seed_tells_nothing():
    assert verdicts([candidate(np.array([[0.1]]))], candidate(np.array([[0.9]])), margin=1.0) == [Verdict.CANNOT_TELL]


def test_nothing_is_told_where_neither_trained_or_the_study_is_not_finished():
    useless = candidate(np.full((3, 5), 2.4), trained=0)
    assert verdicts([useless], useless, margin=0.1) == [Verdict.CANNOT_TELL]
    early = candidate(0.1 + SEEDS, unfinished=True)
    assert verdicts([early], candidate(0.9 + SEEDS)) == [Verdict.CANNOT_TELL]


def test_a_contender_without_finished_trials_is_not_compared():
    assert verdicts([candidate(np.full((2, 3), np.nan))], candidate(0.1 + SEEDS)) == [None]


def test_one_lucky_seed_is_not_the_best_configuration():
    nan = np.nan
    scores = np.array([[0.01, nan, nan, nan], [0.20, 0.21, 0.19, 0.20], [0.30, 0.30, 0.30, 0.30]])
    assert best_configuration(scores, higher_is_better=False) == 1
    assert best_configuration(scores, higher_is_better=True) == 2
    assert best_configuration(np.empty((0, 4)), higher_is_better=True) is None


def test_infinite_losses_are_compared_without_a_number():
    lost = candidate(np.full((1, 4), np.inf), trained=0)
    assert verdicts([candidate(0.1 + SEEDS[:, :4])], lost) == [Verdict.CANNOT_TELL]
    assert verdicts([lost], lost) == [Verdict.CANNOT_TELL]


def test_held_out_choice_sees_through_a_rate_that_is_best_on_one_seed_alone():
    # configuration 1 has the best mean only by seed 0; on seed 0 the others choose configuration 0
    ours = np.array([[0.20, 0.20, 0.20, 0.20], [0.00, 0.22, 0.22, 0.22]])
    base = candidate(np.full((1, 4), 0.25) + np.array([[0.0, 0.01, 0.0, 0.01]]))
    comparison = compare([candidate(ours)], base, higher_is_better=False, confidence=0.95, margin=None)[0]
    held_out = np.array([0.20, 0.22, 0.22, 0.22]) - base.scores_KC[0]
    assert comparison.held_out.mean == pytest.approx(held_out.mean())
    assert comparison.difference == pytest.approx((ours[1] - base.scores_KC[0]).mean())


@pytest.mark.parametrize("num_contenders", [1, 3])
def test_noise_alone_is_told_apart_about_as_often_as_it_may_be(num_contenders):
    """Tuned over 7 rates that do not differ, with 5 seeds: at most about 5 % false verdicts in the family."""
    random = np.random.default_rng(1)
    false = 0
    for _ in range(600):
        shared = random.standard_normal(5)
        drawn = [candidate(shared + random.standard_normal((7, 5))) for _ in range(num_contenders + 1)]
        false += any(verdict is not Verdict.CANNOT_TELL for verdict in verdicts(drawn[1:], drawn[0]))
    assert false / 600 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)


def test_without_tuning_noise_is_told_apart_at_the_nominal_rate():
    random = np.random.default_rng(2)
    pairs = [(random.standard_normal((1, 5)), random.standard_normal((1, 5))) for _ in range(1000)]
    false = sum(verdicts([candidate(ours)], candidate(base)) != [Verdict.CANNOT_TELL] for ours, base in pairs)
    assert false / 1000 == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 1000))

"""What `derive` says of a follow-up before it is run."""

from service.cli.derive import lines_of
from tests.schemas.test_derived_from import FROZEN


def test_a_scale_that_no_theory_gives_is_said_to_be_what_the_pilot_tried():
    by_theory = lines_of(FROZEN)
    assert by_theory == [
        "pilot, wall, gd: sharpness = 1 + 1 gap^1 (supported); rate 1 / law; warmup is foretold to be needed",
        "  warmup_steps: 10 (5 to 20)",
    ]
    (added,) = set(lines_of(FROZEN | {"scale_from": "pilot"})) - set(by_theory)
    assert "no stability threshold of gd is about sharpness: 1 is what the pilot sustained" in added

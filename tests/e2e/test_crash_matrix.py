"""Thirteen cells of the crash matrix, one after another in one study; `make crash` runs each cell by itself."""

from pathlib import Path

import pytest

from tests.e2e.commands import command
from tests.e2e.crash_cells import Fault, Outcome, in_peace, with_faults

pytestmark = [pytest.mark.slow, pytest.mark.proof]

CELLS: list[Fault] = [
    ("trainer", "launch"),
    ("trainer", "training"),
    ("trainer", "record"),
    ("driver", "record"),
    ("trainer", "checkpoint"),
    ("driver", "checkpoint"),
    ("trainer", "compaction"),
    ("raylet", "training"),
    ("ray", "checkpoint"),
    ("gcs_server", "training"),
    ("driver", "compaction"),
    ("driver", "analysis"),
    ("publisher", "publishing"),
]
"""In an order in which they can be met: the first pack is compacted before the second one trains, and the study's own
run is published when it is done."""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("crashes")
    peace = in_peace(folder)
    return folder / "faults", with_faults(folder / "faults", CELLS, peace)


def test_after_thirteen_crashes_everything_is_as_in_peace(outcome: tuple[Path, Outcome]) -> None:
    _, found = outcome
    assert found.struck == CELLS
    assert found.problems == []
    assert "Traceback" not in found.ended.err
    assert "the driver was killed (signal 9); starting it again" in found.ended.err


def test_a_lost_ray_is_noticed_ended_and_replaced(outcome: tuple[Path, Outcome]) -> None:
    _, found = outcome
    assert found.num_lost_rays == sum(victim in ("raylet", "ray", "gcs_server") for victim, _ in CELLS)
    assert 1 <= found.ended.err.count("has lost its Ray") <= found.num_lost_rays


def test_verify_is_clean(outcome: tuple[Path, Outcome]) -> None:
    folder, _ = outcome
    verified = command("verify", "tiny", "--home", folder / "home", cwd=folder)
    assert verified.status == 0, verified.out + verified.err
    assert verified.out.count("as they should be") == 3

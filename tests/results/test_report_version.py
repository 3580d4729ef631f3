"""Of which end of its study a report is."""

from pathlib import Path

import pytest

from schemas.trials import TrialState
from tests.ledger.making import drive, finish, new_study, packs_of
from workers.ledger.ledger import Ledger
from workers.results.report_version import MARK, mark_report, marked_version, report_version


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger.open(tmp_path / "home") as opened:
        yield opened


def trained(ledger: Ledger) -> tuple[str, int]:
    """A study whose trials are done and that is not final yet, and its fence."""
    study_id = new_study(ledger, 2).id
    fence = drive(ledger, study_id)
    packs = packs_of(study_id, list(ledger.trials(study_id)))
    ledger.write_plan(study_id, 0, packs, fence, "cpu")
    finish(ledger, study_id, fence, [pack.pack_id for pack in packs])
    return study_id, fence


def test_a_mark_that_is_made_before_the_end_is_that_of_the_end(ledger: Ledger, tmp_path: Path) -> None:
    study_id, fence = trained(ledger)
    mark_report(tmp_path, ledger.study_head(study_id), becomes_done=True)
    assert marked_version(tmp_path) != report_version(ledger.study_head(study_id))
    ledger.set_study_state(study_id, TrialState.DONE, fence=fence)
    assert marked_version(tmp_path) == report_version(ledger.study_head(study_id))
    ledger.set_publishing(study_id, "behind")
    assert marked_version(tmp_path) == report_version(ledger.study_head(study_id))


def test_a_study_that_went_on_and_ended_again_has_another_version(ledger: Ledger) -> None:
    study_id = new_study(ledger).id
    ledger.set_study_state(study_id, TrialState.CANCELLED, reason="enough")
    first = report_version(ledger.study_head(study_id))
    ledger.continue_study(study_id)
    ledger.set_study_state(study_id, TrialState.CANCELLED, reason="enough")
    assert report_version(ledger.study_head(study_id)) != first


def test_every_change_of_a_study_that_is_not_final_is_another_version(ledger: Ledger) -> None:
    study_id = new_study(ledger).id
    before = report_version(ledger.study_head(study_id))
    ledger.request_cancel(study_id)
    assert report_version(ledger.study_head(study_id)) != before


def test_where_no_mark_can_be_there_is_none(ledger: Ledger, tmp_path: Path) -> None:
    mark_report(tmp_path / "nowhere", ledger.study_head(new_study(ledger).id))
    assert marked_version(tmp_path / "nowhere") is None
    (tmp_path / MARK).write_bytes(b"\xff")
    assert marked_version(tmp_path) is None

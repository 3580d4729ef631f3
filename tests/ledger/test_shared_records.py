"""A database whose processes share their records: each sees the place that the first one has marked, or is refused."""

import pytest

from schemas.errors import PlaceError, PlaceRefused
from tests.ledger.making import at_once
from workers.ledger.ledger import Ledger
from workers.shared_records import TOKEN_FILE, check_shared_records


def token(folder):
    return (folder / TOKEN_FILE).read_text().strip()


def test_the_first_process_marks_the_place_and_the_others_know_it(ledger, tmp_path):
    records = tmp_path / "records"
    check_shared_records(ledger, str(records))
    marked = token(records)
    check_shared_records(ledger, str(records))
    assert token(records) == marked
    assert len(marked) == 32


def test_a_folder_of_that_name_that_is_another_one_is_refused(ledger, tmp_path):
    check_shared_records(ledger, str(tmp_path / "shared"))
    (tmp_path / "local").mkdir()
    with pytest.raises(PlaceRefused, match=rf"--records .*no file {TOKEN_FILE} there.*mounted here too") as refused:
        check_shared_records(ledger, str(tmp_path / "local"))
    assert list((tmp_path / "local").iterdir()) == []
    # what it says to do about records that were moved
    (tmp_path / "local" / TOKEN_FILE).write_text(token(tmp_path / "shared"))
    assert token(tmp_path / "local") in str(refused.value)
    check_shared_records(ledger, str(tmp_path / "local"))


def test_the_place_of_another_database_is_refused(ledger, tmp_path):
    records = str(tmp_path / "records")
    with Ledger.open(tmp_path / "other.sqlite") as other:
        check_shared_records(other, records)
    with pytest.raises(PlaceRefused, match=r"another database's records.*a place of its own"):
        check_shared_records(ledger, records)
    check_shared_records(ledger, str(tmp_path / "own"))
    with pytest.raises(PlaceRefused, match="another database's records"):
        check_shared_records(ledger, records)


def test_a_place_that_cannot_be_written_is_marked_later(ledger, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaceError):
        check_shared_records(ledger, str(tmp_path / "file" / "records"))
    check_shared_records(ledger, str(tmp_path / "records"))


def test_of_many_that_begin_at_once_one_marks_the_place(ledger, tmp_path):
    at_once(8, lambda i: check_shared_records(ledger, str(tmp_path / "records")))
    assert [path.name for path in (tmp_path / "records").iterdir()] == [TOKEN_FILE]


def test_object_stores_are_marked_too(ledger, tmp_path):
    place = f"memory://{tmp_path.name}-{id(ledger)}"
    check_shared_records(ledger, place)
    check_shared_records(ledger, place)
    with pytest.raises(PlaceRefused, match="no file"):
        check_shared_records(ledger, f"{place}-elsewhere")

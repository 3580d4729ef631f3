"""Which study a person means: by id, by the beginning of one, by name, by the name of a result folder."""

import pytest

from schemas.errors import StudyNotFound
from tests.ledger.making import new_study


def test_a_study_is_found_by_whatever_names_it(ledger):
    study = new_study(ledger, name="my first study")
    new_study(ledger, name="another")
    for words in (study.id, study.id[:15], "my first study", f"my-first-study-{study.id[:8]}"):
        assert ledger.find_study(words) == study


def test_a_name_comes_before_the_beginning_of_an_id(ledger):
    other = new_study(ledger)
    named = new_study(ledger, name=other.id[:6])
    assert ledger.find_study(other.id[:6]) == named
    assert ledger.find_study(other.id[:7]) == other


def test_of_studies_of_one_name_all_are_listed_and_each_is_found_by_its_folder(ledger):
    studies = [new_study(ledger, name="twice") for _ in range(2)]
    with pytest.raises(StudyNotFound) as several:
        ledger.find_study("twice")
    first, *lines = str(several.value).splitlines()
    assert first == "several studies are 'twice'; name one by its id:"
    assert {line.split()[0] for line in lines} == {study.id for study in studies}
    assert all("queued" in line and line.endswith("twice") for line in lines)
    for study in studies:
        assert ledger.find_study(f"twice-{study.id[:8]}") == study


def test_a_long_list_of_candidates_is_cut(ledger):
    for _ in range(12):
        new_study(ledger, name="often")
    with pytest.raises(StudyNotFound) as several:
        ledger.find_study("often")
    assert len(str(several.value).splitlines()) == 12
    assert str(several.value).endswith("and more")


@pytest.mark.parametrize("words", ["", "0", "nobody", "small-00000000", "%", "x' OR 1=1", "\x1b[31m", "a" * 5_000])
def test_what_names_no_study_is_said_with_what_would(ledger, words):
    new_study(ledger)
    if words == "0" and ledger.list_studies()[0][0].id.startswith("0"):
        words = "1"
    with pytest.raises(StudyNotFound, match=r"name an id .* the first digits of one, a study's name"):
        ledger.find_study(words)


def test_why_publishing_is_behind_is_remembered_until_it_is_current(ledger):
    study = new_study(ledger)
    assert ledger.why_behind(study.id) == ""
    ledger.set_publishing(study.id, "behind")
    ledger.set_publishing(study.id, "behind", reason="no answer")
    assert ledger.why_behind(study.id) == "no answer"
    seq = ledger.last_event_seq(study.id)
    ledger.set_publishing(study.id, "behind", reason="no answer")
    assert ledger.last_event_seq(study.id) == seq
    ledger.set_publishing(study.id, "current")
    assert ledger.why_behind(study.id) == ""

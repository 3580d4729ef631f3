"""A driver whose ledger is a file on its own disk: what its last copy names is there, and another node continues."""

from functools import cache
from pathlib import Path

import pytest

from schemas.trials import TrialState
from service.running import of_batch_job
from tests.cluster.conftest import House, StopAfter
from workers import launcher, marks
from workers.cluster.aside import Aside
from workers.cluster.study_logs import LogTail, StudyLogs
from workers.ledger.ledger import Ledger
from workers.ledger.rows import PackState
from workers.ledger_copies import FOLDER, LedgerCopies, OtherJob, restore
from workers.places import DATABASE_URL, Places
from workers.records.places import open_place


@cache
def aside_of(house: House, fence: int) -> Aside:
    """Of a driver that has this fence; made once for each."""
    file = house.ledger.place.file
    assert file is not None
    copies = LedgerCopies(file, house.places.records, house.study.spec_hash, fence)
    return Aside(StudyLogs(open_place(house.places.records), house.study.id, fence, LogTail()), copies)


def drive(house: House, **how) -> TrialState:
    return house.drive(aside=lambda fence: aside_of(house, fence), **how)


@pytest.fixture
def checkpoints_every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.planning.packs.CHECKPOINT_S", 0.0)


def restored(house: House, folder: Path) -> Ledger:
    assert restore(folder / "ledger.sqlite", house.places.records, house.study.spec_hash)
    return Ledger.open(folder)


def test_what_a_copy_names_is_there_whenever_the_driver_dies(
    make_house, tmp_path, checkpoints_every_turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, copied, num_checked = make_house(), LedgerCopies.copy, [0]
    records = Path(house.places.records)

    def copy_and_look(self: LedgerCopies) -> None:
        with_copy = sorted((records / FOLDER).rglob("*.sqlite"))
        if with_copy:  # as a node finds it that restores the last one now
            folder = tmp_path / f"other-{num_checked[0]}"
            with restored(house, folder) as ledger:
                for pack in ledger.packs(house.study.id):
                    for ref in [*pack.manifest, *([pack.checkpoint] if pack.checkpoint else [])]:
                        assert (records / ref["name"]).is_file(), ref["name"]
                        num_checked[0] += 1
        copied(self)

    monkeypatch.setattr(LedgerCopies, "copy", copy_and_look)
    assert drive(house) is TrialState.DONE
    assert num_checked[0] > 4
    folder = records / "packs"
    assert not list(folder.rglob("checkpoints/*")), "and what is replaced is deleted all the same"


def test_a_study_goes_on_from_a_copy_to_the_same_bits(make_house, checkpoints_every_turn) -> None:
    undisturbed = make_house("undisturbed")
    undisturbed.finish()
    house = make_house("first node")
    assert drive(house, stop=StopAfter(3)) is TrialState.QUEUED
    at = {pack.pack_id: pack.step for pack in house.ledger.packs(house.study.id)}
    aside_of(house, 1).copy_at_the_end()
    # The first node is gone: its disk, and its ledger with it.
    house.ledger.close()
    other = house.places.home.parent / "other node"
    house.ledger = restored(house, other)
    assert any(step > 0 for step in at.values())
    assert {pack.pack_id: pack.step for pack in house.ledger.packs(house.study.id)} == at
    assert drive(house) is TrialState.DONE
    assert {pack.state for pack in house.ledger.packs(house.study.id)} == {PackState.DONE}
    assert house.rows() == undisturbed.rows()


def test_a_driver_whose_study_another_job_has_continued_stops_and_deletes_nothing(
    make_house, checkpoints_every_turn
) -> None:
    house = make_house()
    aside_of(house, 9).copy_at_the_end()
    with pytest.raises(OtherJob):
        drive(house)


def test_a_pack_that_fails_leaves_its_log_beside_the_records(make_house, monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()

    def broken(*_):
        raise ValueError("no such arrays")

    monkeypatch.setattr("workers.cluster.pack_runner._arrays", broken)
    drive(house)
    logs = list((Path(house.places.records) / "logs" / house.study.id).iterdir())
    packs = house.ledger.packs(house.study.id)
    assert {path.name for path in logs} == {f"{pack.pack_id}-a1.log" for pack in packs}
    assert all("ValueError: no such arrays" in path.read_text() for path in logs)


def test_a_batch_job_has_the_database_that_is_named_or_a_file_that_is_restored(
    make_house, tmp_path, monkeypatch
) -> None:
    house = make_house()
    aside_of(house, 1).copy_at_the_end()
    places = Places.resolve(
        home=str(tmp_path / "new node"), records=house.places.records, tracking_uri="none", environment={}
    )
    monkeypatch.setenv(DATABASE_URL, "postgresql://user@host/name")
    assert of_batch_job(places, house.study.spec_hash).ledger == "postgresql://user@host/name"
    monkeypatch.delenv(DATABASE_URL)
    Ledger.open(places.ledger).close()  # another study's job was on this node before
    found = of_batch_job(places, house.study.spec_hash)
    with Ledger.open(found.ledger, create=False) as ledger:
        assert ledger.study(house.study.id).spec_hash == house.study.spec_hash


def test_a_node_whose_ledger_of_the_study_is_older_than_the_copy_takes_the_copy(make_house, tmp_path) -> None:
    house = make_house()
    records, spec, file = house.places.records, house.study.spec_hash, tmp_path / "node" / "ledger.sqlite"

    def take() -> int:
        with Ledger.open(file) as ledger:
            lease = ledger.acquire_lease(house.study.id, "run", "a driver", 30.0)
            ledger.release_lease(house.study.id, "run", lease.owner, lease.fence)
            return lease.fence

    LedgerCopies(house.ledger.place.file, records, spec, 0).copy()
    assert restore(file, records, spec)
    assert take() == 1
    LedgerCopies(file, records, spec, 1).copy()
    assert not restore(file, records, spec), "it is its own copy"
    assert take() == 2
    assert not restore(file, records, spec), "it is newer"
    other = tmp_path / "other node" / "ledger.sqlite"
    assert restore(other, records, spec)
    for attempt in (2, 3):  # the other node goes on
        with Ledger.open(other) as ledger:
            assert ledger.acquire_lease(house.study.id, "run", f"driver {attempt}", 0.0).fence == attempt
    LedgerCopies(other, records, spec, 3).copy()
    assert restore(file, records, spec)
    assert take() == 4


JOB = {
    "RAY_ADDRESS": "10.0.0.1:6379",
    "RAY_JOB_CONFIG_JSON_ENV_VAR": '{"runtime_env": {"working_dir": "/tmp/user", "env_vars": {"A": "1"}},'
    ' "metadata": {"job_submission_id": "study-1-a1"}}',
}


def test_the_entry_point_of_a_ray_job_is_told_by_its_environment() -> None:
    assert launcher.is_ray_job(JOB)
    assert not launcher.is_ray_job({"RAY_ADDRESS": "10.0.0.1:6379"}), "set by hand"
    assert not launcher.is_ray_job({})


def test_a_driver_on_a_cluster_has_the_cluster_and_its_marks_and_no_users_modules(monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/tmp/user")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/run/secrets/ray_token")
    found = launcher.cluster_environment("s1", JOB)
    assert (found["RAY_ADDRESS"], found[marks.STUDY], found[marks.DRIVER]) == ("10.0.0.1:6379", "s1", marks.IS_DRIVER)
    assert found["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
    assert "PYTHONPATH" not in found
    assert "working_dir" not in found["RAY_JOB_CONFIG_JSON_ENV_VAR"]
    assert '"A": "1"' in found["RAY_JOB_CONFIG_JSON_ENV_VAR"]
    assert "study-1-a1" in found["RAY_JOB_CONFIG_JSON_ENV_VAR"]
    monkeypatch.setenv(marks.DRIVER, marks.IS_DRIVER)
    assert marks.DRIVER not in launcher.child_environment("s1"), "what a driver starts is none"

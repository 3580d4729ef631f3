"""Logs by study and by trial: over HTTP, with the client, with the command; whose they are, how much of them."""

import sys
from pathlib import Path

import pytest

from service.cli.main import main
from service.client import ApiError, Client
from service.study_logs import MOST_BYTES
from tests.service.half_done import half_done
from tests.service.serving import study


@pytest.fixture
def study_id(open_ledger, places):
    return half_done(open_ledger, places, study())


@pytest.fixture
def reader(service):
    with service.client(service.key("read", owner="team")) as client:
        yield client


def keep(places, study_id: str, name: str, text: str) -> None:
    """As a driver on a cluster does."""
    folder = Path(places.records) / "logs" / study_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def failed_trial(open_ledger, study_id: str, log: str) -> str:
    """The id of a trial whose pack has failed."""
    row = open_ledger.study_head(study_id)
    (pack,) = [pack for pack in open_ledger.packs(study_id) if pack.state == "queued"][:1]
    open_ledger.fail_pack(study_id, pack.pack_id, row.attempt, "it failed", log)
    return pack.members[0][0]


def said(capsys, monkeypatch, *arguments: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["warmup-bench", "logs", *map(str, arguments)])
    try:
        main()
        status = 0
    except SystemExit as ended:
        status = int(ended.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_log_of_a_study_is_that_of_its_newest_driver_in_the_records_or_the_one_in_the_home(
    reader, places, study_id
):
    path = f"/v1/studies/{study_id}/log"
    answer = reader.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "log_not_found")
    home = places.home / "logs" / f"{study_id}.driver.log"
    home.parent.mkdir(exist_ok=True)
    home.write_text("of this machine\n")
    assert reader.get(path).text == "of this machine\n"
    for attempt in (2, 10, 9):
        keep(places, study_id, f"driver-a{attempt}.log", f"attempt {attempt}\n")
    keep(places, study_id, "driver-a11.log.tmp", "not whole")
    answer = reader.get(path)
    assert answer.text == "attempt 10\n"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_of_a_long_log_the_end_is_handed_out_from_the_beginning_of_a_line(reader, places, study_id):
    keep(places, study_id, "driver-a1.log", "a line of 22 letters..\n" * 100_000 + "the end\n")
    text = reader.get(f"/v1/studies/{study_id}/log").text
    assert MOST_BYTES - 30 < len(text) <= MOST_BYTES
    assert text.startswith("a line of")
    assert text.endswith("..\nthe end\n")


def test_the_log_of_a_trial_is_what_failed_attempts_at_its_pack_have_said(reader, open_ledger, places, study_id):
    trial_id = failed_trial(open_ledger, study_id, "RuntimeError: out of memory")
    path = f"/v1/trials/{trial_id}/log"
    assert reader.get(path).text == "RuntimeError: out of memory"
    pack_id = next(trial.pack_id for trial in open_ledger.trials(study_id) if trial.trial_id == trial_id)
    for attempt in (1, 2):
        keep(places, study_id, f"{pack_id}-a{attempt}.log", f"said in attempt {attempt}\n")
    text = reader.get(path).text
    assert text == "\n".join(f"{pack_id}-a{attempt}.log\nsaid in attempt {attempt}\n" for attempt in (1, 2))
    well = next(trial.trial_id for trial in open_ledger.trials(study_id) if trial.state == "done")
    assert reader.get(f"/v1/trials/{well}/log").json()["code"] == "log_not_found"


def test_logs_are_their_owners(service, places, study_id, open_ledger):
    keep(places, study_id, "driver-a1.log", "hush")
    trial_id = failed_trial(open_ledger, study_id, "hush")
    with service.client(service.key("read", owner="others")) as other:
        for path in (f"/v1/studies/{study_id}/log", f"/v1/trials/{trial_id}/log"):
            answer = other.get(path)
            assert answer.status_code == 404
            assert "hush" not in answer.text
    with service.anonymous() as nobody:
        assert nobody.get(f"/v1/studies/{study_id}/log").status_code == 401


def test_the_command_prints_them_here_with_nothing_that_a_terminal_obeys(
    capsys, monkeypatch, open_ledger, places, study_id
):
    monkeypatch.delenv("WARMUP_BENCH_SERVER", raising=False)
    here = ("--home", places.home)
    status, _, err = said(capsys, monkeypatch, study_id[:8], *here)
    assert (status, "it has had no driver yet" in err) == (1, True)
    keep(places, study_id, "driver-a1.log", "one\n\x1b[2Jtwo\n")
    assert said(capsys, monkeypatch, study_id[:8], *here)[:2] == (0, "one\n\\x1b[2Jtwo\n")
    trial_id = failed_trial(open_ledger, study_id, "why")
    assert said(capsys, monkeypatch, study_id, "--trial", trial_id[:20], *here)[:2] == (0, "why\n")
    status, _, err = said(capsys, monkeypatch, study_id, "--trial", "nothing", *here)
    assert (status, "0 trials of this study begin with 'nothing'" in err) == (1, True)


def test_the_client_reads_them_too(service, places, study_id, open_ledger):
    trial_id = failed_trial(open_ledger, study_id, "why")
    with Client(service.url, service.key("read", owner="team")) as client:
        with pytest.raises(ApiError, match="no driver yet"):
            client.study_log(study_id)
        keep(places, study_id, "driver-a1.log", "a line\n")
        assert client.study_log(study_id) == "a line\n"
        assert client.trial_log(trial_id) == "why"

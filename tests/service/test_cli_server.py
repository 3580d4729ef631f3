"""The commands against a server: what they print, how they end, and what they say when it does not answer well."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.trials import TrialState
from service.cli import server as acting
from service.cli.main import main
from service.client import Client
from tests.e2e.commands import COMMAND, as_file, environment, hear_ctrl_c
from tests.e2e.specs import digits
from tests.ledger.making import drive, receipt
from tests.service.live_server import Live, live_server
from tests.service.scripted_server import answer, problem, scripted
from workers.ledger.inputs import NewPack
from workers.results.report_version import mark_report

Said = tuple[int, str, list[str]]
Run = Callable[..., Said]
REPORT = {"verdict": "linear wins.", "ranking": []}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_server(tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.fixture
def said(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Exit status, stdout, and the lines of stderr of a command."""
    for name in ("WARMUP_BENCH_SERVER", "WARMUP_BENCH_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WARMUP_BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(acting, "RETRY_S", 0.2)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["warmup-bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err.splitlines()

    return run


@pytest.fixture
def there(said: Run, live: Live, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same with the server named."""
    monkeypatch.setenv("WARMUP_BENCH_SERVER", live.url)
    monkeypatch.setenv("WARMUP_BENCH_KEY", live.key)
    return said


def file_of(tmp_path: Path, name: str) -> Path:
    return as_file(digits(20, name=name), tmp_path / "study.yaml")


def run_to_its_end(live: Live, study_id: str) -> None:
    """Play the driver: one pack of all trials, and the report of its end."""
    ledger = live.ledger
    fence = drive(ledger, study_id)
    ledger.set_study_state(study_id, TrialState.RUNNING, fence=fence)
    members = [(trial.trial_id, slot) for slot, trial in enumerate(ledger.trials(study_id))]
    pack = NewPack(f"{study_id}-p", "group", len(members), 100, members, "e" * 64, {"total_steps": 20})
    ledger.write_plan(study_id, 0, [pack], fence, "cpu")
    started = ledger.start_packs(study_id, [pack.pack_id], fence)
    ledger.commit_receipts(study_id, fence, [receipt(one, steps=20) for one in started])
    folder = live.places.study_folder(study_id)
    folder.mkdir(parents=True)
    texts = {"report.json": json.dumps(REPORT), "report.html": "<html></html>", "verdict.txt": REPORT["verdict"]}
    for name, text in texts.items():
        (folder / name).write_text(text)
    mark_report(folder, ledger.study_head(study_id), becomes_done=True)
    ledger.set_study_state(study_id, TrialState.DONE, fence=fence)


def study_of(live: Live, name: str) -> str:
    (head,), _ = live.ledger.list_studies(name=name)
    return head.id


def when_submitted(live: Live, name: str, act: Callable[[str], None]) -> threading.Thread:
    """Do something with the study of that name, once it is there."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found, _ = live.ledger.list_studies(name=name)
            if found:
                act(found[0].id)
                return
            time.sleep(0.05)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_submit_says_where_then_which_and_prints_the_id(there: Run, live: Live, tmp_path: Path) -> None:
    status, out, err = there("submit", file_of(tmp_path, "told"))
    study_id = study_of(live, "told")
    assert (status, out) == (0, f"{study_id}\n")
    assert err[0] == f"warmup-bench: server {live.url}"
    assert err[1] == f"study {study_id} (told): 16 trials, queued"
    assert f"watch {study_id[:8]} --server {live.url}" in err[2]


def test_submit_with_one_key_twice_makes_one_study(there: Run, tmp_path: Path) -> None:
    command = ["submit", file_of(tmp_path, "keyed"), "--idempotency-key", "k", "--priority", "-5", "--json"]
    first, second = json.loads(there(*command)[1]), json.loads(there(*command)[1])
    assert first == second
    assert first["priority"] == -5


def test_a_study_that_is_refused_ends_with_2_and_a_line_per_field(there: Run, tmp_path: Path) -> None:
    document = digits(20)
    document["seeds"] = {"count": 0}
    document["nane"] = 1
    status, out, err = there("submit", as_file(document, tmp_path / "wrong.yaml"))
    assert (status, out) == (2, "")
    assert [line.partition(":")[0] for line in err] == ["warmup-bench", "error", "error"]
    assert any("seeds.count: got 0, allowed" in line for line in err)


def test_a_priority_that_is_refused_ends_with_2(there: Run, tmp_path: Path) -> None:
    status, _, err = there("submit", file_of(tmp_path, "too eager"), "--priority", "101")
    assert status == 2
    assert err[-1].startswith("error: priority: got '101', allowed")


def test_submit_wait_ends_with_the_verdict(there: Run, live: Live, tmp_path: Path) -> None:
    driver = when_submitted(live, "waited", lambda study_id: run_to_its_end(live, study_id))
    status, out, _ = there("submit", file_of(tmp_path, "waited"), "--wait")
    driver.join()
    assert status == 0
    assert "linear wins." in out
    assert f"warmup-bench report {study_of(live, 'waited')[:8]} --server {live.url}" in out


def test_submit_follow_shows_progress_and_then_the_same_answer(there: Run, live: Live, tmp_path: Path) -> None:
    driver = when_submitted(live, "followed", lambda study_id: run_to_its_end(live, study_id))
    status, out, err = there("submit", file_of(tmp_path, "followed"), "--follow", "--json")
    driver.join()
    found = json.loads(out)
    assert (status, found["state"], found["verdict"]) == (0, "done", "linear wins.")
    assert found["counts"]["trained"] == 16
    assert "16/16 trials done" in err[-2]
    assert err[-1] == "waiting for its report, which the server may have to write first ..."


def test_a_study_that_was_cancelled_ends_with_1(there: Run, live: Live, tmp_path: Path) -> None:
    driver = when_submitted(live, "ended", live.ledger.request_cancel)
    status, out, _ = there("submit", file_of(tmp_path, "ended"), "--wait", "--json")
    driver.join()
    assert (status, json.loads(out)["state"]) == (1, "cancelled")


def test_list_shows_the_servers_studies_as_it_shows_ours(there: Run, live: Live, tmp_path: Path) -> None:
    there("submit", file_of(tmp_path, "listed"))
    status, out, err = there("list", "--limit", "1")
    head, row, more = out.splitlines()
    assert (status, err) == (0, [f"warmup-bench: server {live.url}"])
    assert row.split()[0] == study_of(live, "listed")
    assert row[head.index("name") :] == "listed"
    assert there("list", "--limit", "1", "--cursor", more.split()[-1], "--json")[0] == 0
    assert there("list", "--cursor", "x")[0] == 2


def test_show_watch_and_report_of_a_study_that_is_done(there: Run, live: Live, tmp_path: Path) -> None:
    there("submit", file_of(tmp_path, "seen"))
    study_id = study_of(live, "seen")
    run_to_its_end(live, study_id)
    assert there("show", study_id[:9])[1].splitlines()[0] == f"{study_id}  seen  done  16 done"
    assert json.loads(there("show", "seen", "--json")[1])["spec"]["name"] == "seen"
    status, out, _ = there("watch", "seen")
    assert (status, "linear wins." in out) == (0, True)
    status, out, err = there("report", "seen")
    folder = tmp_path / f"seen-{study_id[:8]}"
    assert (status, out) == (0, f"linear wins.\nreport {folder / 'report.html'}\n")
    assert any("no tables: the server hands out a trial's rows at /v1/trials/ID/records" in line for line in err)
    assert json.loads((folder / "report.json").read_text()) == REPORT
    assert (folder / "study.yaml").read_text().startswith(f"# warmup-bench study {study_id}\n")


def test_a_report_is_not_written_over_something_else(there: Run, tmp_path: Path) -> None:
    there("submit", file_of(tmp_path, "careful"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    status, _, err = there("report", "careful", "--out", tmp_path / "mine")
    assert status == 2
    assert "holds no results of ours" in err[-1]
    assert [item.name for item in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_cancel_is_told_and_may_be_asked_again(there: Run, live: Live, tmp_path: Path) -> None:
    there("submit", file_of(tmp_path, "unwanted"))
    study_id = study_of(live, "unwanted")
    assert there("cancel", "unwanted")[:2] == (0, f"{study_id}  cancelled\n")
    assert json.loads(there("cancel", study_id, "--json")[1])["state"] == "cancelled"


def test_a_study_that_is_not_there_is_said_with_what_shows_those_that_are(there: Run, live: Live) -> None:
    status, _, err = there("show", "nobody")
    assert (status, err[-1]) == (
        1,
        f"error: no study 'nobody' at {live.url}; `warmup-bench list` shows those that are there",
    )
    assert there("cancel", "0" * 16)[0] == 1


def test_several_of_one_name_are_listed(there: Run, tmp_path: Path) -> None:
    for _ in range(2):
        there("submit", file_of(tmp_path, "again"))
    status, _, err = there("watch", "again")
    assert status == 1
    assert "name one by its id" in err[1]
    assert len(err) == 4


def test_the_flag_none_acts_here(there: Run, tmp_path: Path) -> None:
    status, out, err = there("list", "--server", "none")
    assert (status, err) == (0, [f"warmup-bench: here, home {tmp_path / 'home'}"])
    assert out == "no studies yet; `warmup-bench run quickstart` makes one\n"
    assert there("submit", "quickstart", "--server", "none")[0] == 2


def test_without_a_key_it_is_said_how_to_give_one(said: Run, live: Live) -> None:
    status, _, err = said("list", "--server", live.url)
    assert (status, len(err)) == (1, 2)
    assert "wants a key and none was found: give one with --key-file, WARMUP_BENCH_KEY" in err[1]


def test_with_a_wrong_key_it_is_said_where_it_came_from(said: Run, live: Live, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("wb_" + "x" * 43)
    status, _, err = said("list", "--server", live.url, "--key-file", tmp_path / "key")
    assert (status, len(err)) == (1, 2)
    assert f"The key is that of --key-file {tmp_path / 'key'}" in err[1]
    assert "xxx" not in err[1]


def test_the_key_that_serve_left_in_the_home_opens_its_server(said: Run, live: Live, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "serve.key").write_text(live.key + "\n")
    assert said("list", "--server", live.url, "--json")[0] == 0


def test_a_server_that_is_not_there_is_one_line_with_what_to_do(said: Run) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        status, out, err = said("submit", "quickstart", "--server", url)
    assert (status, out) == (1, "")
    errors = [line for line in err if line.startswith("error: ")]
    assert errors == [
        f"error: {url} cannot be reached (Connection refused); start one there (warmup-bench serve), or name another"
        " (--server, WARMUP_BENCH_SERVER)"
    ]
    assert err[-1] == errors[0]


PAGE = answer(b"<html>log in</html>", kind="text/html")
HALF = answer(b'{"items": [', kind="application/json")
OTHER = answer({"hello": "world"})
BROKEN = problem(500, "internal", "the request id finds what happened")


@pytest.mark.parametrize(
    ("bytes_", "expected"),
    [
        (PAGE, "a proxy, or another program, answers there: check the address"),
        (HALF, "an answer that is no whole JSON; try again"),
        (OTHER, "an answer that is no Page (items: Field required); is it warmup-bench"),
        (BROKEN, "the request id finds what happened (500 internal; request r_1)"),
    ],
)
def test_an_answer_that_is_none_is_one_line(said: Run, bytes_: bytes, expected: str) -> None:
    with scripted(bytes_) as script:
        status, out, err = said("list", "--server", script.url)
    assert (status, out, len(err)) == (1, "", 2)
    assert expected in err[1]


def test_a_server_far_away_without_tls_is_warned_of(said: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMUP_BENCH_KEY", "secret")
    _, _, err = said("list", "--server", "http://0.0.0.0:9")  # leads here, but is no loopback address
    assert "in the clear" in err[1]


def test_ctrl_c_leaves_a_followed_study_running(live: Live, tmp_path: Path) -> None:
    file = file_of(tmp_path, "left")
    hear_ctrl_c()
    process = subprocess.Popen(
        [COMMAND, "submit", str(file), "--follow", "--server", live.url, "--home", str(tmp_path / "home")],
        env=environment(WARMUP_BENCH_KEY=live.key),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in range(3)]
    assert lines[2] == "queued: it waits for its turn\n"
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    study_id = study_of(live, "left")
    assert process.returncode == 130
    assert f"left alone: study {study_id} goes on at {live.url}" in rest
    assert live.ledger.study(study_id).state == "queued"


def test_a_server_that_comes_back_while_followed_is_found_again(tmp_path: Path) -> None:
    with live_server(tmp_path) as first:
        port = int(first.url.rpartition(":")[2])
        client = Client(first.url, first.key)
        study = client.submit(digits(20))
        stream = client.events(study.id)
        assert next(stream).seq == 1
    over = threading.Event()

    def come_back() -> None:
        time.sleep(0.5)
        with live_server(tmp_path, port=port) as second:
            second.ledger.request_cancel(study.id)
            over.wait(60)

    thread = threading.Thread(target=come_back)
    thread.start()
    try:
        with client:
            events = list(stream)
    finally:
        over.set()
        thread.join()
    assert [event.seq for event in events] == list(range(2, 2 + len(events)))
    assert events[-1].kind == "study_cancelled"

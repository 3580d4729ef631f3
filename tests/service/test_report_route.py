"""GET /v1/studies/{id}/report: by Accept, sandboxed, written by one bounded child where nobody has written it yet."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import structlog

from service import report_writer, reports
from service.routes.report import PAGE_POLICY
from tests.analysis.conftest import trial_row, write_tables
from tests.service.half_done import finish, half_done
from tests.service.serving import serving, study
from workers.analysis import analyse, write_report
from workers.results.report_version import MARK, mark_report

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def hostile_study():
    """The small study with markup in its description: names may hold none."""
    return study() | {"description": HOSTILE}


@pytest.fixture
def study_id(open_ledger, places):
    return half_done(open_ledger, places, hostile_study())


@pytest.fixture
def reader(service):
    with service.client(service.key("read", owner="team")) as client:
        yield client


@pytest.fixture
def writes(monkeypatch):
    """Counts the children."""
    started = []
    start = report_writer._start

    def counted():
        started.append(start())
        return started[-1]

    monkeypatch.setattr(report_writer, "_start", counted)
    return started


QUICK = """
import json, pathlib, sys, time
order = json.load(sys.stdin)
folder = pathlib.Path(order["folder"])
folder.mkdir()
for name in ("report.json", "report.html", "verdict.txt"):
    (folder / name).write_text(str(time.time_ns()))
"""


@pytest.fixture
def endless(monkeypatch, writes):
    """A child that never ends."""
    monkeypatch.setattr(report_writer, "module_command", lambda _: [sys.executable, "-S", "-c", "while True: pass"])
    return writes


@pytest.fixture
def quick(monkeypatch, writes):
    """A child that writes a report at once, each a different one."""
    monkeypatch.setattr(report_writer, "module_command", lambda _: [sys.executable, "-S", "-c", QUICK])
    return writes


def get(client, study_id, accept="application/json", **headers):
    return client.get(f"/v1/studies/{study_id}/report", headers={"Accept": accept, **headers})


@pytest.mark.slow
def test_a_half_done_study_is_told_as_page_data_and_words_of_one_writing(reader, study_id, writes):
    page, data, words = (get(reader, study_id, accept) for accept in ("text/html", "application/json", "text/plain"))
    assert "4 of 8 trials done" in words.text
    assert data.json()["verdict"] == words.text
    assert page.text.count("plotly.js v") == 1
    assert {answer.headers["content-type"] for answer in (page, data, words)} == {
        "text/html; charset=utf-8",
        "application/json",
        "text/plain; charset=utf-8",
    }
    assert len(writes) == 1


@pytest.mark.slow
def test_the_page_is_sandboxed_and_its_markup_is_our_own(reader, study_id):
    page = get(reader, study_id, "text/html")
    assert page.headers["content-security-policy"] == PAGE_POLICY
    assert page.headers["x-content-type-options"] == "nosniff"
    assert HOSTILE not in page.text
    assert "&lt;/script&gt;&lt;script&gt;document.title" in page.text


def test_json_is_what_one_has_who_asks_for_nothing_and_others_are_refused(reader, study_id, quick):
    assert get(reader, study_id, "*/*").headers["content-type"] == "application/json"
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    assert get(reader, study_id, browser).headers["content-type"].startswith("text/html")
    answer = get(reader, study_id, "application/pdf")
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")


def test_what_one_has_already_is_a_304(reader, study_id, quick):
    first = get(reader, study_id)
    again = get(reader, study_id, **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert get(reader, study_id, "text/plain", **{"If-None-Match": first.headers["etag"]}).status_code == 200


def test_many_who_ask_at_once_start_one_child(service, study_id, quick):
    with service.client(service.key("read", owner="team")) as client, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: get(client, study_id).content, range(12)))
    assert len(set(answers)) == 1
    assert len(quick) == 1


def test_a_running_study_is_written_anew_when_it_has_changed_and_some_time_has_passed(
    reader, open_ledger, study_id, quick, monkeypatch
):
    first = get(reader, study_id)
    open_ledger.request_cancel(study_id)
    assert get(reader, study_id).headers["etag"] == first.headers["etag"]
    monkeypatch.setattr(reports, "FRESH_S", 0.0)
    monkeypatch.setattr(reports, "FRESH_RUNS", 0.0)
    assert get(reader, study_id).headers["etag"] != first.headers["etag"]
    assert len(quick) == 2


def test_a_study_that_ends_is_written_anew_at_once_and_publishing_it_changes_nothing(
    reader, open_ledger, study_id, quick
):
    get(reader, study_id)
    finish(open_ledger, study_id)
    final = get(reader, study_id)
    open_ledger.set_publishing(study_id, "behind")
    assert get(reader, study_id).headers["etag"] == final.headers["etag"]
    assert len(quick) == 2


def written_by_the_driver(open_ledger, places, study_id, words):
    """The study's result folder, as its driver leaves it once the study has ended."""
    folder = places.study_folder(study_id)
    folder.mkdir(parents=True, exist_ok=True)
    for name in report_writer.FILES:
        (folder / name).write_text(words)
    mark_report(folder, open_ledger.study_head(study_id))
    return folder


def test_what_the_driver_wrote_when_the_study_ended_is_handed_out_whatever_its_date(
    reader, open_ledger, places, study_id, quick
):
    finish(open_ledger, study_id)
    folder = written_by_the_driver(open_ledger, places, study_id, "the driver's")
    for name in report_writer.FILES:
        os.utime(folder / name, (0, 0))  # a copy put back
    assert get(reader, study_id, "text/plain").text == "the driver's"
    assert not quick


def test_what_a_driver_wrote_before_the_study_went_on_is_not_handed_out(reader, open_ledger, places, study_id, quick):
    finish(open_ledger, study_id)
    written_by_the_driver(open_ledger, places, study_id, "of the first end")
    open_ledger.continue_study(study_id)
    finish(open_ledger, study_id)
    assert get(reader, study_id, "text/plain").text != "of the first end"
    assert len(quick) == 1


@pytest.mark.parametrize("lost", [*report_writer.FILES, MARK])
def test_of_what_the_driver_wrote_nothing_may_be_missing(reader, open_ledger, places, study_id, quick, lost):
    finish(open_ledger, study_id)
    (written_by_the_driver(open_ledger, places, study_id, "the driver's") / lost).unlink()
    assert get(reader, study_id, "text/plain").text != "the driver's"
    assert len(quick) == 1


def test_a_report_outlives_the_process_that_wrote_it(open_ledger, places, study_id, quick):
    for _ in range(2):
        with serving(open_ledger, places) as service, service.client(service.key("read", owner="team")) as client:
            assert get(client, study_id).status_code == 200
    assert len(quick) == 1


def test_a_child_that_takes_too_long_is_ended_and_not_tried_again_at_once(service, study_id, monkeypatch, endless):
    monkeypatch.setattr(service.app.state.reports._writer, "_write_s", 0.3)
    with service.client(service.key("read", owner="team")) as client:
        for _ in range(2):
            answer = get(client, study_id)
            assert (answer.status_code, answer.json()["code"]) == (500, "report_failed")
    (child,) = endless
    assert child.returncode == -9
    assert not list((service.app.state.settings.places.home / "cache" / "reports").glob("[.]*"))


def test_who_does_not_want_to_wait_longer_is_told_when_to_come_again(service, study_id, monkeypatch, quick):
    later = "import time; time.sleep(1)" + QUICK
    monkeypatch.setattr(report_writer, "module_command", lambda _: [sys.executable, "-S", "-c", later])
    monkeypatch.setattr(service.app.state.reports, "_wait_s", 0.05)
    with service.client(service.key("read", owner="team")) as client:
        answer = get(client, study_id)
        assert (answer.status_code, answer.json()["code"]) == (503, "report_busy")
        assert int(answer.headers["retry-after"]) > 0
        deadline = time.monotonic() + 60
        while get(client, study_id).status_code == 503:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert get(client, study_id).status_code == 200
    assert len(quick) == 1


def test_a_failure_is_said_without_a_place_and_logged_with_its_cause(reader, places, study_id):
    shutil.rmtree(places.records)
    with structlog.testing.capture_logs() as logged:
        answer = get(reader, study_id)
    assert (answer.status_code, answer.json()["code"]) == (500, "report_failed")
    assert str(places.home) not in answer.text
    assert any("corrupt_record" in str(line.get("error")) for line in logged)


def test_stopping_the_service_ends_the_child(open_ledger, places, study_id, endless):
    with serving(
        open_ledger,
        places,
    ) as service:
        service.app.state.reports._wait_s = 0.05
        with service.client(service.key("read", owner="team")) as client:
            assert get(client, study_id).status_code == 503
    assert endless[0].poll() is not None


def test_another_owners_study_is_not_there(service, study_id, writes):
    with service.client(service.key("read", owner="others")) as client:
        assert get(client, study_id).json()["code"] == "study_not_found"
    assert not writes


WATCHED = """
import pathlib, runpy, sys
try:
    runpy.run_module("workers.results", run_name="__main__")
finally:
    found = {"torch", "ray", "mlflow"} & set(sys.modules)
    pathlib.Path(sys.argv[1]).write_text(repr(sorted(found)))
"""


@pytest.mark.slow
def test_the_child_needs_neither_torch_nor_ray(reader, study_id, monkeypatch, tmp_path):
    seen = tmp_path / "seen"
    monkeypatch.setattr(report_writer, "module_command", lambda _: [sys.executable, "-P", "-c", WATCHED, str(seen)])
    assert get(reader, study_id).status_code == 200
    assert seen.read_text() == "[]"


def test_the_ledgers_url_is_no_argument_that_everybody_can_list(open_ledger, reader, study_id, quick):
    get(reader, study_id)
    assert open_ledger.url not in " ".join(quick[0].args)


def test_room_is_made_by_age_and_older_versions_go_first(tmp_path):
    for number, name in enumerate(["a/1", "b/1", "b/2", "c/1"]):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "report.html").write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (number, number))
    report_writer.make_room(tmp_path, 250, keep=tmp_path / "b/2")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")) == ["b/2", "c/1"]


def written_by_hand(folder):
    """A page from the report's writer, of a study with markup in every string (a spec could not hold it)."""
    rows = [
        trial_row(
            trial_id=f"{schedule}{lr}{seed}", workload=HOSTILE, optimizer=HOSTILE, schedule=schedule, peak_lr=lr,
            seed=str(seed), reason=HOSTILE, device=HOSTILE, model=HOSTILE, final_validation_loss=0.2 + lr + 0.01 * seed,
        )
        for schedule in (HOSTILE, "warm") for lr in (0.1, 0.2) for seed in (0, 1)
    ]  # fmt: skip
    spec = {
        "name": HOSTILE,
        "description": HOSTILE,
        "workloads": [{"name": HOSTILE, "task": "classification"}],
        "optimizers": [{"name": HOSTILE, "kind": "adamw"}],
        "schedules": [{"name": HOSTILE}, {"name": "warm"}],
        "analysis": {"baseline": HOSTILE, "metric": "validation_loss", "target": None, "equivalence_margin": 0.05},
    }
    write_report(analyse(write_tables(folder, {"trials": rows}), spec), folder)
    return (folder / "report.html").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("page", ["handed out", "written by hand"])
def test_a_browser_draws_the_figures_under_the_policy_and_runs_nothing_of_the_specs(reader, study_id, tmp_path, page):
    content = get(reader, study_id, "text/html").content if page == "handed out" else written_by_hand(tmp_path / "page")
    with page_served(content) as url:
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/chromium"]
        command += ["--virtual-time-budget=8000", "--window-size=1300,2400", "--dump-dom", url]
        document = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
    assert document.count('class="main-svg"') >= 2
    assert "owned" not in re.search(r"<title>(.*?)</title>", document, re.DOTALL)[1].replace(
        escape(HOSTILE, quote=False), ""
    )
    assert "<img" not in document


@contextmanager
def page_served(content):
    """The page under the policy of the route, for a browser that has no key."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Security-Policy", PAGE_POLICY)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            return

    # Threads: a browser opens connections ahead of what it asks for.
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()

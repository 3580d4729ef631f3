"""What operators ask: alive, ready, counted; and what the process imports."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from schemas.errors import PlaceError
from service.bodies import STUDY_TURNS
from tests.service.serving import serving, study

ROOT = Path(__file__).parents[2]


def samples(client):
    text = client.get("/metrics").text
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_health_says_nothing_of_the_database(service, monkeypatch):
    def away():
        raise PlaceError("gone")

    monkeypatch.setattr(service.ledger, "schema_is_current", away)
    with service.anonymous() as caller:
        assert caller.get("/healthz").status_code == 200
        away_now = caller.get("/readyz")
        assert (away_now.status_code, away_now.json()["code"]) == (503, "ledger_unavailable")
        monkeypatch.setattr(service.ledger, "schema_is_current", lambda: False)
        old_now = caller.get("/readyz")
        assert (old_now.status_code, old_now.json()["code"]) == (503, "not_ready")
        assert "retry-after" in old_now.headers


def test_requests_are_counted_by_route_template(client):
    made = client.post("/v1/studies", json=study()).json()
    client.get(f"/v1/studies/{made['id']}")
    client.get(f"/v1/studies/{'0' * 16}")
    found = samples(client)

    def count(method, route, status):
        labels = {"method": method, "route": route, "status": status}
        return found.get(("warmup_bench_http_requests_total", *sorted(labels.items())))

    assert count("POST", "/v1/studies", "202") == 1
    assert count("GET", "/v1/studies/{study_id}", "200") == 1
    assert count("GET", "/v1/studies/{study_id}", "404") == 1
    of_route = (("method", "GET"), ("route", "/v1/studies/{study_id}"))
    assert found[("warmup_bench_http_request_seconds_count", *of_route)] == 2


def test_callers_cannot_make_labels(client):
    client.get("/metrics")
    before = len(samples(client))
    for index in range(5):
        client.get(f"/nowhere/{index}")
        client.request(f"BREW{index}", "/healthz")
        client.get(f"/v1/studies/{index}")
    new = len(samples(client)) - before
    for index in range(5, 50):
        client.get(f"/nowhere/{index}")
        client.request(f"BREW{index}", "/healthz")
        client.get(f"/v1/studies/{index}")
    assert len(samples(client)) - before == new


def test_studies_are_counted_by_state_and_so_is_the_queue(client):
    made = [client.post("/v1/studies", json=study()).json()["id"] for _ in range(3)]
    client.post(f"/v1/studies/{made[0]}:cancel")
    found = samples(client)
    by_state = {key[1][1]: value for key, value in found.items() if key[0] == "warmup_bench_studies"}
    assert by_state == {"queued": 2, "running": 0, "done": 0, "cancelled": 1, "errored": 0}
    assert found[("warmup_bench_queue_length",)] == 2
    assert found[("warmup_bench_sse_listeners",)] == 0


SERVE_ONE = """
import sys, threading, time, urllib.request
from tests.service.serving import DIGITS_FACTS, serving, study
from workers.ledger.ledger import Ledger
from workers.places import Places
places = Places.resolve(home=sys.argv[1], tracking_uri="none", environment={})
with Ledger.open(places.home) as ledger:
    ledger.publish_dataset("digits", "d" * 64, DIGITS_FACTS)
    with serving(ledger, places) as service, service.client() as client:
        made = client.post("/v1/studies", json=study())
        assert made.status_code == 202, made.text
        trials = f"/v1/studies/{made.json()['id']}/trials"
        for path in ("/v1/catalog", "/v1/presets", "/v1/openapi.json", "/metrics", "/readyz", trials):
            assert client.get(path).status_code == 200, path
        assert client.post("/v1/studies:plan", json=study()).status_code == 200
print(*sys.modules)
"""


def test_the_process_imports_none_of_what_trains_tracks_or_draws(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SERVE_ONE, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not {"torch", "ray", "mlflow", "pandas", "scipy", "sklearn", "matplotlib", "plotly"} & loaded
    assert not [name for name in loaded if name.startswith(("workers.science", "workers.cluster"))]


@pytest.mark.parametrize(
    ("waits", "method", "path"),
    [
        ("list_studies", "GET", "/v1/studies"),
        ("study", "GET", f"/v1/studies/{'0' * 16}"),
        ("study_head", "POST", f"/v1/studies/{'0' * 16}:cancel"),
        ("study_head", "POST", f"/v1/studies/{'0' * 16}:extend"),
        ("trial_holders", "GET", f"/v1/trials/{'0' * 64}"),
        ("datasets", "GET", "/v1/catalog"),
        ("datasets", "POST", "/v1/studies"),
        ("datasets", "POST", "/v1/studies:plan"),
        ("key_by_secret", "GET", "/v1/presets"),
        ("studies_by_state", "GET", "/metrics"),
        ("schema_is_current", "GET", "/readyz"),
    ],
)
def test_a_ledger_that_waits_holds_nobody_else_up(service, monkeypatch, waits, method, path):
    entered, may_end = threading.Event(), threading.Event()
    plain = getattr(service.ledger, waits)

    def waiting(*arguments, **more):
        entered.set()
        assert may_end.wait(30)
        return plain(*arguments, **more)

    monkeypatch.setattr(service.ledger, waits, waiting)
    with service.client() as caller, service.anonymous() as other:
        asking = threading.Thread(
            target=lambda: caller.request(method, path, json=study() if method == "POST" else None)
        )
        asking.start()
        assert entered.wait(30)
        try:
            assert other.get("/healthz", timeout=10).status_code == 200
        finally:
            may_end.set()
            asking.join(30)


def test_studies_that_take_long_leave_the_other_routes_their_threads(service, client, monkeypatch):
    num_inside, may_end, plain = [], threading.Event(), service.ledger.datasets

    def waiting():
        num_inside.append(1)
        assert may_end.wait(30)
        return plain()

    monkeypatch.setattr(service.ledger, "datasets", waiting)
    callers = [threading.Thread(target=lambda: client.post("/v1/studies:plan", json=study())) for _ in range(45)]
    for caller in callers:
        caller.start()
    try:
        with service.client() as other:
            assert other.get("/v1/studies", timeout=10).status_code == 200
        assert len(num_inside) <= STUDY_TURNS
    finally:
        may_end.set()
        for caller in callers:
            caller.join(30)
    assert len(num_inside) >= len(callers)


def printed_plan(document, tmp_path, *flags):
    file = tmp_path / "study.json"
    file.write_text(json.dumps(document))
    program = [sys.executable, "-m", "service.cli.main", "plan", str(file), "--json", "--home", str(tmp_path / "empty")]
    done = subprocess.run([*program, *flags], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)


def test_a_plan_is_what_the_command_prints(client, tmp_path):
    assert client.post("/v1/studies:plan", json=study()).json() == printed_plan(study(), tmp_path)


def test_a_plan_is_for_the_trainers_of_the_service(open_ledger, places, tmp_path):
    with serving(open_ledger, places, workers=7) as service, service.client() as client:
        answered = client.post("/v1/studies:plan", json=study()).json()
    assert answered["workers"] == 7
    assert answered == printed_plan(study(), tmp_path, "--workers", "7")


def test_planning_keeps_nothing(client):
    assert client.post("/v1/studies:plan", json=study()).json()["trials"] == 8
    assert client.get("/v1/studies").json()["items"] == []

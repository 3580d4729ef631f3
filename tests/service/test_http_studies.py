"""Studies and trials over HTTP, on SQLite and on Postgres: submitted, found, listed, cancelled, seen by their owner."""

import io
import re
from itertools import pairwise

import pytest
from ruamel.yaml import YAML

from schemas.trials import Outcome
from service.cursors import seal
from service.resources import TrialResource, TrialSummary
from tests.ledger.making import drive, finish, packs_of
from tests.service.serving import STUDY_FIELDS, study


@pytest.fixture
def client(any_service):
    with any_service.client() as opened:
        yield opened


def submitted(client, document=None, **more):
    response = client.post("/v1/studies", json=document or study(), **more)
    assert response.status_code == 202, response.text
    return response.json()


def finished(service, client, **summary):
    """A study of two trials that are done."""
    found = submitted(client, study(1, rates=(0.1,)))
    ledger = service.ledger
    fence = drive(ledger, found["id"])
    packs = packs_of(found["id"], list(ledger.trials(found["id"])))
    ledger.write_plan(found["id"], 0, packs, fence, "cpu")
    finish(ledger, found["id"], fence, [pack.pack_id for pack in packs], outcome=Outcome.DIVERGED, **summary)
    return found


def test_a_study_is_accepted_before_any_work_begins(any_service, client):
    response = client.post("/v1/studies", json=study())
    body = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/studies/{body['id']}"
    assert set(body) == STUDY_FIELDS
    assert (body["state"], body["total"], body["counts"]["queued"]) == ("queued", 8, 8)
    assert any_service.ledger.lease(body["id"], "run") is None
    assert any_service.ledger.packs(body["id"]) == []
    assert client.get(response.headers["location"]).json()["id"] == body["id"]


def test_yaml_and_json_are_the_same_study(client):
    text = io.StringIO()
    YAML().dump(study(), text)
    of_yaml = client.post("/v1/studies", content=text.getvalue(), headers={"Content-Type": "application/yaml"}).json()
    assert of_yaml["spec_hash"] == submitted(client)["spec_hash"]


def test_a_study_has_its_spec_with_every_default_written_out(client):
    found = submitted(client)
    spec = client.get(f"/v1/studies/{found['id']}").json()["spec"]
    assert spec["name"] == "small"
    assert spec["probe_budget"] == 0.3


def test_priority_is_kept_and_bounded(client):
    assert submitted(client, params={"priority": 7})["priority"] == 7
    assert client.post("/v1/studies", json=study(), params={"priority": 101}).status_code == 422


def test_a_refused_study_says_field_got_and_allowed_of_everything(client):
    document = study() | {"seeds": {"count": 0}, "nmae": "x"}
    response = client.post("/v1/studies", json=document)
    assert response.status_code == 422
    assert response.json()["code"] == "spec_refused"
    assert {problem["field"] for problem in response.json()["errors"]} == {"seeds.count", "nmae"}
    assert all(set(problem) == {"field", "got", "allowed"} for problem in response.json()["errors"])
    assert client.get("/v1/studies").json()["items"] == []


def test_studies_come_newest_first_page_by_page_each_once(client):
    made = [submitted(client, study(name=f"s{index}"))["id"] for index in range(5)]
    seen, following, pages = [], None, 0
    while True:
        page = client.get("/v1/studies", params={"limit": 2} | ({"cursor": following} if following else {})).json()
        seen += [item["id"] for item in page["items"]]
        following, pages = page["next"], pages + 1
        if following is None:
            break
    assert sorted(seen) == sorted(made)
    assert pages == 3
    times = [client.get(f"/v1/studies/{id_}").json()["created_at"] for id_ in seen]
    assert all(newer >= older for newer, older in pairwise(times))


def test_the_link_header_leads_through_all_pages_with_the_same_filters(client):
    for index in range(3):
        submitted(client, study(name=f"s{index}"))
    submitted(client, study(name="other"))
    response, seen = client.get("/v1/studies?limit=1&name=s*"), []
    while True:
        seen += [item["name"] for item in response.json()["items"]]
        if "next" not in response.links:
            break
        response = client.get(response.links["next"]["url"])
    assert seen == ["s2", "s1", "s0"]


def test_studies_are_filtered(client):
    first, second = submitted(client, study(name="alpha")), submitted(client, study(name="beta"))
    client.post(f"/v1/studies/{first['id']}:cancel")

    def names(**params):
        return [item["name"] for item in client.get("/v1/studies", params=params).json()["items"]]

    assert names(state="cancelled") == ["alpha"]
    assert names(state="queued") == ["beta"]
    assert names(name="beta") == ["beta"]
    assert names(name="al*") == ["alpha"]
    assert names(name="al%") == []
    assert names(created_after=second["created_at"]) == []
    assert names(created_before=first["created_at"]) == []
    assert names(created_after="2020-01-01T00:00:00Z") == ["beta", "alpha"]


def test_list_items_are_studies_without_their_spec(client):
    submitted(client)
    assert set(client.get("/v1/studies").json()["items"][0]) == STUDY_FIELDS


BAD_CURSORS = ["x", "AAAA", "c3R1ZGllczo", "é", "c3R1ZGllczoxMjM=", "9" * 200, "dHJpYWxzOjE"]


@pytest.mark.parametrize("cursor", BAD_CURSORS)
def test_a_cursor_that_no_page_gave_is_a_400(client, cursor):
    response = client.get("/v1/studies", params={"cursor": cursor})
    assert (response.status_code, response.json()["code"]) == (400, "bad_cursor")


def test_a_cursor_of_trials_that_no_page_gave_is_a_400(client):
    at = f"/v1/studies/{submitted(client)['id']}/trials"
    for inner in ("x", "-1", "1.5", "9" * 30, "1;drop"):
        response = client.get(at, params={"cursor": seal("trials", inner)})
        assert (response.status_code, response.json()["code"]) == (400, "bad_cursor")


@pytest.mark.parametrize(
    "params",
    [
        {"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"state": "lost"}, {"created_after": "yesterday"},
        {"created_after": "2020-01-01T00:00:00"}, {"created_before": "0.5"}, {"created_before": "2020-01-01"},
        {"stat": "done"}, {"name": "a\0b"},
    ],
)  # fmt: skip
def test_a_parameter_that_cannot_be_is_a_422_that_names_it(client, params):
    response = client.get("/v1/studies", params=params)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_parameter")
    assert [problem["field"] for problem in response.json()["errors"]] == list(params)


@pytest.mark.parametrize(
    ("params", "allowed"),
    [
        ({"created_after": "2020-01-01T00:00:00"}, "a time with a zone, as in 2026-01-31T12:00:00Z"),
        ({"created_after": "1577836800"}, "a time with a zone, as in 2026-01-31T12:00:00Z"),
        ({"name": "a\0b"}, "a text without NUL characters"),
    ],
)
def test_a_parameter_that_is_refused_says_what_is_allowed(client, params, allowed):
    (problem,) = client.get("/v1/studies", params=params).json()["errors"]
    assert problem["allowed"] == allowed


def test_an_unchanged_study_is_not_sent_again(client):
    at = f"/v1/studies/{submitted(client)['id']}"
    tag = client.get(at).headers["etag"]
    same = client.get(at, headers={"If-None-Match": tag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    assert client.get(at, headers={"If-None-Match": f'"0", W/{tag}'}).status_code == 304
    client.post(f"{at}:cancel")
    changed = client.get(at, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


def test_cancel_ends_a_queued_study_at_once_and_again_changes_nothing(client):
    at = f"/v1/studies/{submitted(client)['id']}"
    first = client.post(f"{at}:cancel")
    assert (first.status_code, first.json()["state"]) == (202, "cancelled")
    again = client.post(f"{at}:cancel")
    assert (again.status_code, again.json()) == (202, first.json())


def test_cancel_of_another_version_than_was_read_is_a_412(client):
    at = f"/v1/studies/{submitted(client)['id']}"
    refused = client.post(f"{at}:cancel", headers={"If-Match": '"999"'})
    assert (refused.status_code, refused.json()["code"]) == (412, "version_changed")
    assert client.get(at).json()["state"] == "queued"
    tag = client.get(at).headers["etag"]
    assert client.post(f"{at}:cancel", headers={"If-Match": tag}).json()["state"] == "cancelled"


def test_trials_come_by_position_page_by_page_and_filtered(client):
    at = f"/v1/studies/{submitted(client)['id']}/trials"
    first = client.get(at, params={"limit": 5})
    rest = client.get(first.links["next"]["url"]).json()
    assert [item["num_index"] for item in first.json()["items"] + rest["items"]] == list(range(8))
    assert rest["next"] is None

    def positions(**params):
        return [item["num_index"] for item in client.get(at, params=params).json()["items"]]

    assert len(positions(schedule="linear")) == 4
    assert positions(schedule="cosine") == []
    assert len(positions(optimizer="sgd", workload="digits-mlp", state="queued")) == 8
    assert positions(state="done") == positions(outcome="trained") == []


def test_a_trial_is_found_by_its_id(client):
    found = submitted(client)
    trial = client.get(f"/v1/studies/{found['id']}/trials", params={"limit": 1}).json()["items"][0]
    assert client.get(f"/v1/trials/{trial['id']}").json() == trial
    assert client.get(trial["links"]["study"]).json()["id"] == found["id"]
    for absent in ("0" * 64, "x", "%00", "0" * 63):
        response = client.get(f"/v1/trials/{absent}")
        assert (response.status_code, response.json()["code"]) == (404, "trial_not_found")


def test_numbers_that_are_not_finite_arrive_as_strings(any_service, client):
    found = finished(
        any_service, client, last_finite_loss=float("inf"), final={"train_loss": float("nan")}, max_loss=-float("inf")
    )
    trial = client.get(f"/v1/studies/{found['id']}/trials", params={"limit": 1}).json()["items"][0]
    assert trial["outcome"] == "diverged"
    TrialResource.model_validate(trial | {"summary": None})
    assert set(trial) == set(TrialResource.model_fields)
    assert set(trial["summary"]) == set(TrialSummary.model_fields)
    assert trial["summary"]["last_finite_loss"] == "Infinity"
    assert trial["summary"]["max_loss"] == "-Infinity"
    assert trial["summary"]["final"] == {"train_loss": "NaN"}


def test_counts_follow_the_trials(any_service, client):
    found = finished(any_service, client)
    counts = client.get(f"/v1/studies/{found['id']}").json()["counts"]
    assert counts == {"queued": 0, "running": 0, "done": 2, "cancelled": 0, "errored": 0} | {
        "trained": 0,
        "stalled": 0,
        "diverged": 2,
    }


def test_what_belongs_to_others_is_answered_as_what_never_was(any_service, client):
    mine = submitted(client)
    trial = client.get(f"/v1/studies/{mine['id']}/trials", params={"limit": 1}).json()["items"][0]["id"]
    with any_service.client() as stranger:
        routes = [("GET", ""), ("GET", "/trials"), ("POST", ":cancel"), ("GET", "/events"), ("GET", "/report")]
        for method, rest in routes:
            theirs = stranger.request(method, f"/v1/studies/{mine['id']}{rest}")
            absent = stranger.request(method, f"/v1/studies/{'0' * 16}{rest}")
            assert theirs.status_code == 404, rest
            assert _without_ids(theirs) == _without_ids(absent)
        assert stranger.get(f"/v1/trials/{trial}").status_code == 404
        assert stranger.get(f"/v1/trials/{trial}/records").status_code == 404
        assert stranger.get("/v1/studies").json()["items"] == []
    assert client.get(f"/v1/studies/{mine['id']}").json()["state"] == "queued"


def _without_ids(response):
    return re.sub(r'[0-9a-f]{16}|"request_id":"[^"]*"', "", response.text)


def test_keys_of_one_owner_share_and_an_admin_sees_and_cancels_all(any_service):
    with any_service.client(any_service.key("submit", owner="team")) as one:
        found = submitted(one)
    with any_service.client(any_service.key("read", owner="team")) as other:
        assert other.get(f"/v1/studies/{found['id']}").json()["owner"] == "team"
    with any_service.client(any_service.key("admin")) as admin:
        assert found["id"] in [item["id"] for item in admin.get("/v1/studies").json()["items"]]
        assert admin.post(f"/v1/studies/{found['id']}:cancel").json()["state"] == "cancelled"


def test_an_id_is_whole(client):
    found = submitted(client)
    for part in (found["id"][:8], found["id"].upper().replace("0", "O"), "x", "%00", "..%2f"):
        assert client.get(f"/v1/studies/{part}").status_code == 404

"""What a caller can look up: kinds with their schemas, data sets, presets, the API's own description."""

import pytest
from jsonschema import Draft202012Validator

from schemas.presets import preset_names, preset_text
from service.spec_files import parse_document
from tests.service.serving import study


def test_the_catalog_has_every_kind_with_a_schema(client):
    kinds = client.get("/v1/catalog").json()["kinds"]
    named = {(item["family"], item["kind"]) for item in kinds}
    some = {
        ("workload", "analytic"),
        ("model", "mlp"),
        ("optimizer", "adamw"),
        ("warmup", "linear"),
        ("probe", "sharpness"),
    }
    assert some <= named
    assert len(named) == len(kinds)
    for item in kinds:
        Draft202012Validator.check_schema(item["schema"])
        assert len(item["description"]) > 10


def test_the_catalog_has_a_schema_that_studies_fit(client):
    schema = client.get("/v1/catalog").json()["study"]
    Draft202012Validator(schema).validate(study())
    assert not Draft202012Validator(schema).is_valid(study() | {"seeds": "many"})


def test_the_catalog_has_the_data_sets_that_were_published(client):
    datasets = client.get("/v1/catalog").json()["datasets"]
    assert [(item["kind"], item["facts"]["num_train"]) for item in datasets] == [("digits", 1149)]


def test_presets_are_listed_and_handed_out_as_json_or_yaml(client):
    listed = client.get("/v1/presets").json()
    assert [item["name"] for item in listed["items"]] == list(preset_names())
    assert listed["next"] is None
    for name in preset_names():
        at = f"/v1/presets/{name}"
        assert client.get(at).json() == parse_document(preset_text(name))
        as_yaml = client.get(at, headers={"Accept": "application/yaml"})
        assert as_yaml.headers["content-type"].startswith("application/yaml")
        assert as_yaml.text == preset_text(name)


def test_presets_come_in_pages_like_every_list(client):
    first = client.get("/v1/presets", params={"limit": 1}).json()
    second = client.get("/v1/presets", params={"limit": 1, "cursor": first["next"]}).json()
    assert [page["items"][0]["name"] for page in (first, second)] == list(preset_names())[:2]
    last = client.get("/v1/presets", params={"limit": len(preset_names())})
    assert last.json()["next"] is None
    assert "link" not in last.headers
    for wrong in ({"limit": 0}, {"limit": 1_001}, {"limit": "x"}, {"nonsense": 1}):
        assert client.get("/v1/presets", params=wrong).json()["code"] == "invalid_parameter"
    for cursor in ("x", "c3R1ZGllczo3"):
        assert client.get("/v1/presets", params={"cursor": cursor}).json()["code"] == "bad_cursor"


def test_every_preset_says_what_it_is_for(client):
    assert all(len(item["description"]) > 20 for item in client.get("/v1/presets").json()["items"])


def test_a_preset_can_be_submitted_as_it_is(client):
    as_yaml = client.get("/v1/presets/quickstart", headers={"Accept": "application/yaml"})
    response = client.post("/v1/studies", content=as_yaml.content, headers={"Content-Type": "application/yaml"})
    assert (response.status_code, response.json()["total"]) == (202, 280)


@pytest.mark.parametrize(
    ("path", "accept", "status", "code"),
    [
        ("/v1/presets/quickstrat", "*/*", 404, "preset_not_found"),
        ("/v1/presets/..%2fquickstart", "*/*", 404, "route_not_found"),
        ("/v1/presets/quickstart", "text/html", 406, "not_acceptable"),
    ],
)
def test_a_preset_that_is_not_there_or_not_so_is_refused(client, path, accept, status, code):
    response = client.get(path, headers={"Accept": accept})
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_the_description_names_every_operation_once_and_every_code(service, client):
    described = client.get("/v1/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    documented = {code for response in described["components"]["responses"].values() for code in _codes(response)}
    assert documented == set(described["components"]["schemas"]["Problem"]["properties"]["code"]["enum"])


def _codes(response):
    return response["content"]["application/problem+json"]["examples"]

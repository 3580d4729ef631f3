"""A service accepts the parts that its operator has listed, by their manifest: it imports none of them."""

import sys

import pytest

from schemas.catalog import DatasetFacts
from schemas.own_parts import OwnParts
from schemas.plugins import Parameter, PluginFacts, PluginSource
from tests.service.serving import DIGITS_FACTS, study
from workers.ledger.ledger import Ledger
from workers.studies import publish_plugins, published_plugins


def facts(group, name, *parameters):
    source = PluginSource(group=group, name=name, distribution="acme-models", version="1.2", sha256="a" * 64)
    return PluginFacts(source=source, parameters=parameters)


WIDTH = Parameter(name="width", is_required=False, type="int")
DATA = {**DIGITS_FACTS, "kind": "plugin:acme_data", "sha256": "b" * 64, "num_test": 0}


@pytest.fixture
def listed(open_ledger: Ledger):
    own = OwnParts([facts("models", "acme_net", WIDTH), facts("datasets", "acme_data")], [DatasetFacts(**DATA)])
    publish_plugins(open_ledger, own)
    return open_ledger


def with_model(**fields):
    document = study()
    document["workloads"][0]["model"] = {"kind": "plugin", "name": "acme_net", **fields}
    return document


def test_a_study_of_a_listed_part_is_accepted_with_its_code(client, listed):
    response = client.post("/v1/studies", json=with_model(options={"width": 4}))
    assert response.status_code == 202, response.text
    spec = client.get(response.headers["location"]).json()["spec"]
    assert [(source["name"], source["version"], source["sha256"]) for source in spec["plugins"]] == [
        ("acme_net", "1.2", "a" * 64)
    ]
    assert "acme" not in sys.modules


def test_submitting_it_again_with_the_same_key_is_answered_alike(client, listed):
    headers = {"Idempotency-Key": "again"}
    first, second = (client.post("/v1/studies", json=with_model(), headers=headers) for _ in range(2))
    assert first.json() == second.json()


def test_other_code_is_another_trial(client, listed):
    def trial_ids():
        study_id = client.post("/v1/studies", json=with_model()).json()["id"]
        return {trial["id"] for trial in client.get(f"/v1/studies/{study_id}/trials").json()["items"]}

    before = trial_ids()
    assert trial_ids() == before
    changed = facts("models", "acme_net", WIDTH)
    changed = changed.model_copy(update={"source": changed.source.model_copy(update={"sha256": "c" * 64})})
    publish_plugins(listed, OwnParts([changed]))
    assert not trial_ids() & before


REFUSED = {
    "not listed": (
        {"name": "acme_vit"},
        {"field": "workloads[0].model.name", "got": "'acme_vit'"},
        "acme_net; a part that the operator of this service has installed and listed",
    ),
    "an option that it does not know": (
        {"options": {"widht": 3}},
        {"field": "workloads[0].model.options.widht", "got": "3"},
        "no option of this name: acme_net takes width (did you mean width?)",
    ),
    "an option of another type": (
        {"options": {"width": 1.5}},
        {"field": "workloads[0].model.options.width", "got": "1.5"},
        "an integer",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("route", ["/v1/studies", "/v1/studies:plan"])
def test_what_is_not_so_is_refused_by_field(client, listed, case, route):
    fields, expected, allowed = REFUSED[case]
    response = client.post(route, json=with_model(**fields))
    assert response.status_code == 422
    [error] = response.json()["errors"]
    assert error.items() >= expected.items()
    assert error["allowed"].startswith(allowed)


def test_a_data_set_of_ones_own_is_accepted_as_it_was_published(client, listed):
    document = study()
    document["workloads"][0]["dataset"] = {"kind": "plugin", "name": "acme_data"}
    assert client.post("/v1/studies:plan", json=document).status_code == 200
    document["workloads"][0]["dataset"]["options"] = {}
    assert client.post("/v1/studies:plan", json=document).status_code == 200


def test_the_catalog_has_what_is_listed(client, listed):
    assert client.get("/v1/catalog").json()["plugins"] == [
        {
            "group": group,
            "name": name,
            "distribution": "acme-models",
            "version": "1.2",
            "sha256": "a" * 64,
            "options": options,
        }
        for group, name, options in (("models", "acme_net", ["width"]), ("datasets", "acme_data", []))
    ]


def test_nothing_is_listed_where_nobody_has_listed_it(client, open_ledger):
    assert published_plugins(open_ledger) == {}
    response = client.post("/v1/studies", json=with_model())
    assert response.status_code == 422
    assert response.json()["errors"][0]["allowed"].startswith("a part that the operator of this service has installed")

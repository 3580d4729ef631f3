"""Every success that OpenAPI describes is shown by an example, and every example is one that its schema allows."""

import json

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

BINARY = "application/vnd.apache.parquet"


@pytest.fixture
def described(contract_app):
    return json.loads(json.dumps(contract_app[0].openapi()))


def successes(described):
    """(operation, media type, its content) of each answer that all is well."""
    return [
        (operation["operationId"], media_type, content)
        for path in described["paths"].values()
        for operation in path.values()
        for status, response in operation["responses"].items()
        if status.startswith("2")
        for media_type, content in response.get("content", {}).items()
    ]


def values(described, content):
    for example in content["examples"].values():
        if "$ref" in example:
            example = described["components"]["examples"][example["$ref"].rpartition("/")[2]]
        yield example["value"]


def valid(described, schema, value):
    registry = Registry().with_resource("doc:", Resource.from_contents(described, default_specification=DRAFT202012))
    schema = json.loads(json.dumps(schema).replace('"#/', '"doc:#/'))
    checker = Draft202012Validator.FORMAT_CHECKER
    Draft202012Validator(schema, registry=registry, format_checker=checker).validate(value)


def test_every_success_has_an_example(described):
    shown = {(name, kind) for name, kind, content in successes(described) if content.get("examples")}
    all_of_them = {(name, kind) for name, kind, _ in successes(described)}
    assert all_of_them - shown == {("read_trial_records", BINARY)}
    assert len({name for name, _ in shown}) == sum(len(path) for path in described["paths"].values())


def test_every_example_fits_its_schema(described):
    for name, kind, content in successes(described):
        for value in values(described, content) if "examples" in content else ():
            assert "schema" in content, (name, kind)
            valid(described, content["schema"], value)


def test_the_example_of_an_event_fits_the_schema_of_events(described):
    (content,) = (content for name, kind, content in successes(described) if kind == "text/event-stream")
    (value,) = values(described, content)
    fields = dict(line.split(": ", 1) for line in value.strip().splitlines())
    assert set(fields) == {"id", "event", "data"}
    valid(described, {"$ref": "#/components/schemas/StudyEvent"}, json.loads(fields["data"]))


def test_every_example_of_a_study_to_send_fits_the_schema_of_studies(described):
    for path in described["paths"].values():
        for operation in path.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                for value in values(described, content):
                    valid(described, content["schema"], value)


def test_an_example_that_does_not_fit_would_be_noticed(described):
    content = next(content for name, _, content in successes(described) if name == "get_trial")
    (value,) = values(described, content)
    with pytest.raises(Exception, match="is not one of"):
        valid(described, content["schema"], value | {"state": "asleep"})

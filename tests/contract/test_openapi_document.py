"""The document is OpenAPI 3.1: only its words, valid JSON Schemas, references that lead somewhere."""

import json

import pytest
from jsonschema import Draft202012Validator

MEDIA_TYPE_FIELDS = {"schema", "example", "examples", "encoding"}
"""What OpenAPI 3.1 knows of a media type; a later version has more."""


@pytest.fixture
def described(contract_app):
    return json.loads(json.dumps(contract_app[0].openapi()))


def nodes(node):
    yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from nodes(child)


def mappings_under(described, key):
    return [node[key] for node in nodes(described["paths"]) if isinstance(node, dict) and key in node]


def media_types(described):
    shared = [response["content"] for response in described["components"]["responses"].values()]
    return [media_type for content in mappings_under(described, "content") + shared for media_type in content.values()]


def test_a_media_type_is_described_with_the_words_of_this_version(described):
    assert described["openapi"].startswith("3.1.")
    found = media_types(described)
    assert len(found) > 20
    assert [fields for fields in map(set, found) if not fields <= MEDIA_TYPE_FIELDS or "schema" not in fields] == []


def test_every_schema_is_a_valid_json_schema(described):
    found = [*described["components"]["schemas"].values(), *mappings_under(described, "schema")]
    assert len(found) > 40
    for schema in found:
        Draft202012Validator.check_schema(schema)


def test_every_reference_leads_somewhere(described):
    references = {node["$ref"] for node in nodes(described) if isinstance(node, dict) and "$ref" in node}
    assert len(references) > 20
    for reference in references:
        place = described
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]

"""Every answer is one that OpenAPI promises, whatever is sent and in whatever order: schemathesis, all its checks on.

A fixed hundred or two on SQLite, and fewer on Postgres. `make contract` (WARMUP_BENCH_CONTRACT_EXAMPLES=100) makes at
least 2,000 on each: so many for each operation, and every boundary of the schema of a study.
"""

import os
from collections import Counter

import pytest

pytest.importorskip("schemathesis", reason="schemathesis is not installed")

import schemathesis
from schemathesis.engine import events, from_schema

EXAMPLES = int(os.environ.get("WARMUP_BENCH_CONTRACT_EXAMPLES", "2"))
IS_LONG = EXAMPLES >= 50
# Rules between fields (a warmup inside its run, ...), cursors and versions are more than a schema can say.
POSSIBLE = ["2xx", "3xx", "400", "401", "403", "404", "409", "412", "422", "429"]
ON_POSTGRES = EXAMPLES if IS_LONG else 1


def config(key, examples):
    return schemathesis.Config.from_dict(
        {
            "seed": 1,
            "headers": {"Authorization": f"Bearer {key}"},
            "max-stream-events": 1,
            "generation": {"max-examples": examples, "deterministic": True, "database": "none"},
            "checks": {"positive_data_acceptance": {"expected-statuses": POSSIBLE}},
            "operations": [
                {
                    "include-path-regex": "studies$|:plan$|:extend$",
                    "include-method": "POST",
                    "phases": {"coverage": {"enabled": IS_LONG}},
                },
                # A study that was only now made has no log: 404 says so.
                {"include-path-regex": "/log$", "checks": {"ensure_resource_availability": {"enabled": False}}},
            ],
        }
    )


@pytest.mark.slow
def test_every_operation_keeps_its_contract(contract_app):
    num_cases = cases_of(*contract_app, EXAMPLES)
    assert num_cases.total() >= (2_000 if IS_LONG else 300)
    assert {"examples", "coverage", "fuzzing", "stateful"} <= {phase for phase, _ in num_cases}


@pytest.mark.slow
@pytest.mark.proof
class TestOnPostgres:
    @pytest.fixture
    def ledger_place(self, postgres_place):
        return postgres_place

    def test_every_operation_keeps_its_contract_on_postgres_too(self, contract_app):
        assert cases_of(*contract_app, ON_POSTGRES).total() >= (2_000 if IS_LONG else 100)


def cases_of(app, key, examples):
    """(phase, operation) -> cases that were tried; every operation was, and no answer was one that is not promised."""
    headers = {"Authorization": f"Bearer {key}"}
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", app, config=config(key, examples), headers=headers)
    num_cases, problems = Counter(), []
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            for node in event.recorder.cases.values():
                num_cases[event.phase.value, node.value.operation.definition.raw["operationId"]] += 1
            problems += failures(event.recorder)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            problems.append(str(getattr(event, "info", None) or event.exception))
    print(f"{num_cases.total()} cases")
    assert problems == []
    # The description itself is what the cases are made from.
    assert {name for _, name in num_cases} == operation_ids(app) - {"get_openapi"}
    return num_cases


def operation_ids(app):
    """Of every operation that is described."""
    return {operation["operationId"] for path in app.openapi()["paths"].values() for operation in path.values()}


def failures(recorder):
    """What each check that failed says, with the request to try it with."""
    return [
        f"{check.name}: {check.failure_info.failure.message}\n{check.failure_info.code_sample}"
        for checks in recorder.checks.values()
        for check in checks
        if check.failure_info is not None
    ]

"""Every answer is one that OpenAPI promises, whatever is sent and in whatever order: schemathesis, all its checks on.

A fixed few hundred cases. WARMUP_BENCH_CONTRACT_EXAMPLES=100 makes thousands: so many for each operation, and every
boundary of the schema of a study.
"""

import os
from collections import Counter

import pytest

pytest.importorskip("schemathesis", reason="schemathesis is not installed")

import schemathesis
from schemathesis.engine import events, from_schema

EXAMPLES = int(os.environ.get("WARMUP_BENCH_CONTRACT_EXAMPLES", "5"))
IS_LONG = EXAMPLES >= 50
# Rules between fields (a warmup inside its run, ...), cursors and versions are more than a schema can say.
POSSIBLE = ["2xx", "3xx", "400", "401", "403", "404", "409", "412", "422", "429"]
WRITES_REPORTS = "get_study_report"
"""Starts a process for each study: it has tests of its own."""


def config(key):
    return schemathesis.Config.from_dict(
        {
            "seed": 1,
            "headers": {"Authorization": f"Bearer {key}"},
            "max-stream-events": 1,
            "generation": {"max-examples": EXAMPLES, "deterministic": True, "database": "none"},
            "checks": {"positive_data_acceptance": {"expected-statuses": POSSIBLE}},
            "operations": [
                {
                    "include-path-regex": "studies$|:plan$|:extend$",
                    "include-method": "POST",
                    "phases": {"coverage": {"enabled": IS_LONG}},
                }
            ],
        }
    )


@pytest.mark.slow
def test_every_operation_keeps_its_contract(contract_app):
    app, key = contract_app
    headers = {"Authorization": f"Bearer {key}"}
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", app, config=config(key), headers=headers)
    num_cases, problems = Counter(), []
    for event in from_schema(schema.exclude(operation_id=WRITES_REPORTS)).execute():
        if isinstance(event, events.ScenarioFinished):
            num_cases[str(event.phase)] += len(event.recorder.cases)
            problems += failures(event.recorder)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            problems.append(str(getattr(event, "info", None) or event.exception))
    print(dict(num_cases))
    assert problems == []
    assert num_cases.total() >= 300
    assert {"examples", "coverage", "fuzzing", "stateful"} <= set(num_cases)


def failures(recorder):
    """What each check that failed says, with the request to try it with."""
    return [
        f"{check.name}: {check.failure_info.failure.message}\n{check.failure_info.code_sample}"
        for checks in recorder.checks.values()
        for check in checks
        if check.failure_info is not None
    ]

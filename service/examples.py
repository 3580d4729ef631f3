"""What each route answers, by an example: of a real run of the quickstart study, as OpenAPI shows it."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from schemas.presets import preset_text
from schemas.study import parse_study
from service.preset_descriptions import preset_description
from service.spec_files import parse_document

JSON, YAML, HTML, TEXT = "application/json", "application/yaml", "text/html", "text/plain"
EVENTS = "text/event-stream"
PRESET = "quickstart"
_PLANNED = {
    "device_class": "cpu",
    "workers": 2,
    "trials": 280,
    "trials_done": 0,
    "packs": 8,
    "steps": 112_000,
    "gradients": 118_930.0,
    "hvps": 12_530,
    "record_rows": 122_010,
    "record_bytes": 4_196_920,
    "seconds": None,
    "budget": None,
    "thinned": {},
    "warmup_steps": {
        "none": "0 of 400 steps",
        "linear-20": "20 of 400 steps",
        "linear-80": "80 of 400 steps",
        "convex-80": "80 of 400 steps",
    },
    "unstacked": {},
    "notes": [],
}


@cache
def examples() -> dict[str, dict[str, Any]]:
    """Operation -> media type -> what a request that succeeds is answered with."""
    seen: dict[str, Any] = json.loads((files("service") / "examples.json").read_text(encoding="utf-8"))
    done, trial = seen["study"], seen["trial"]
    queued = _queued(done)
    spec = dict(parse_study(parse_document(preset_text(PRESET))).resolved)
    return {
        "submit_study": {JSON: queued},
        "plan_study": {JSON: {"name": PRESET, "spec_hash": done["spec_hash"], **_PLANNED, "spec": spec}},
        "cancel_study": {JSON: queued | {"cancel_requested": True, "version": queued["version"] + 1}},
        "extend_study": {JSON: done | {"extension": {"round": None, "num_new": 0}}},
        "list_studies": {JSON: _page(done)},
        "get_study": {JSON: done | {"spec": spec}},
        "follow_study_events": {EVENTS: _as_event(seen["event"])},
        "get_study_report": {
            JSON: seen["report"],
            HTML: f"<!doctype html><title>{PRESET}</title>...",
            TEXT: seen["report"]["verdict"],
        },
        "list_trials": {JSON: _page(trial)},
        "get_trial": {JSON: trial},
        "read_trial_records": {JSON: {"items": seen["rows"], "next": None}},
        "get_study_log": {TEXT: "2026-01-31 12:00:02,041 INFO warmup_bench.driver 8 packs on 2 trainers\n"},
        "get_trial_log": {TEXT: f"{trial['study_id']}-a1.log\nRuntimeError: CUDA error: out of memory\n"},
        "get_catalog": {
            JSON: {"kinds": [_kind()], "study": {"type": "object"}, "datasets": [seen["dataset"]], "plugins": []}
        },
        "list_presets": {JSON: _page({"name": PRESET, "description": preset_description(PRESET)})},
        "get_preset": {JSON: parse_document(preset_text(PRESET)), YAML: preset_text(PRESET)},
        "get_openapi": {JSON: {"openapi": "3.1.0", "info": {"title": "warmup-bench", "version": "1"}, "paths": {}}},
        "healthz": {JSON: {"status": "ok"}},
        "readyz": {JSON: {"status": "ready"}},
        "metrics": {TEXT: 'warmup_bench_studies{state="queued"} 1.0\n'},
    }


def _queued(done: dict[str, Any]) -> dict[str, Any]:
    """The study as it was submitted."""
    counts = dict.fromkeys(done["counts"], 0) | {"queued": done["total"]}
    as_new = {"state": "queued", "counts": counts, "steps_unfinished": done["steps"], "device_class": None}
    return done | as_new | {"version": 1, "updated_at": done["created_at"], "finished_at": None}


def _page(item: Any) -> dict[str, Any]:
    return {"items": [item], "next": None}


def _as_event(event: dict[str, Any]) -> str:
    return f"id: {event['seq']}\nevent: {event['kind']}\ndata: {json.dumps(event)}\n\n"


def _kind() -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"kind": {"const": "none"}},
        "required": ["kind"],
        "additionalProperties": False,
    }
    return {"family": "warmup", "kind": "none", "description": "No warmup.", "schema": schema}

"""Studies in YAML and studies in JSON take turns among their own kind: neither waits for the other."""

import json
import threading
from contextlib import contextmanager

import pytest

from service.bodies import STUDY_TURNS, YAML_TURNS
from tests.service.serving import study

BODY = json.dumps(study())
JSON, YAML = {"Content-Type": "application/json"}, {"Content-Type": "application/yaml"}


@contextmanager
def held_up(service, monkeypatch, headers, num_callers):
    """The names of the threads that plan studies of these headers and are kept from going on."""
    inside, is_full, may_end = [], threading.Event(), threading.Event()
    plain, mine = service.ledger.datasets, threading.Lock()

    def waiting():
        with mine:
            is_held = len(inside) < (YAML_TURNS if headers is YAML else STUDY_TURNS)
            inside.append(1)
            if len(inside) == (YAML_TURNS if headers is YAML else STUDY_TURNS):
                is_full.set()
        assert not is_held or may_end.wait(30)
        return plain()

    monkeypatch.setattr(service.ledger, "datasets", waiting)

    def plan(client):
        assert client.post("/v1/studies:plan", content=BODY, headers=headers).status_code == 200

    with service.client() as client:
        callers = [threading.Thread(target=plan, args=(client,)) for _ in range(num_callers)]
        for caller in callers:
            caller.start()
        assert is_full.wait(30)
        try:
            yield inside
        finally:
            may_end.set()
            for caller in callers:
                caller.join(30)


@pytest.mark.parametrize(("slow", "quick"), [(YAML, JSON), (JSON, YAML)], ids=["yaml is slow", "json is slow"])
def test_one_kind_does_not_wait_for_the_other(service, monkeypatch, slow, quick):
    with held_up(service, monkeypatch, slow, num_callers=6) as inside, service.client() as other:
        num_before = len(inside)
        assert other.post("/v1/studies:plan", content=BODY, headers=quick, timeout=10).status_code == 200
        assert len(inside) == num_before + 1
    assert len(inside) == 7

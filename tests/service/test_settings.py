"""Settings of the service come from the environment; what cannot be meant there is refused by its name."""

import subprocess

import pytest

from schemas.errors import SpecError
from service.settings import read_settings, variables
from tests.e2e.commands import COMMAND, environment

PREFIX = "WARMUP_BENCH_SERVE_"


def read(places, monkeypatch, **values):
    for name, value in values.items():
        monkeypatch.setenv(f"{PREFIX}{name}", value)
    return read_settings(places, 3)


def test_what_is_set_is_read(places, monkeypatch):
    settings = read(places, monkeypatch, MAX_BODY_BYTES="7", LIMITS__TRIALS="8", QUOTA_STUDIES_QUEUED="9")
    assert (settings.max_body_bytes, settings.limits.trials, settings.quotas.studies_queued) == (7, 8, 9)
    assert settings.workers == 3


def test_every_variable_that_is_named_is_read(places, monkeypatch):
    plain = read_settings(places, None)
    for name in variables():
        value = "true" if name.endswith("METRICS") else "9"
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert read_settings(places, None) != plain, name


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MAX_BODY_BYTES", "abc", "MAX_BODY_BYTES: got 'abc', allowed an integer"),
        ("MAX_BODY_BYTES", "0", "MAX_BODY_BYTES: got '0', allowed greater than or equal to 1"),
        ("QUOTA_STUDIES_QUEUED", "-1", "QUOTA_STUDIES_QUEUED: got '-1', allowed greater than or equal to 0"),
        ("QUOTA_STUDIES", "1", "QUOTA_STUDIES: got '1', allowed no variable of this name .*QUOTA_STUDIES_QUEUED"),
        ("LIMITS__TRIALS", "x", "LIMITS__TRIALS: got 'x', allowed an integer"),
        ("LIMITS__TRIALS", "-4", "allowed 0 or more for trials"),
        ("LIMITS", "abc", "LIMITS: got 'abc', allowed no variable of this name"),
        ("PLACES", "x", "PLACES: got 'x', allowed no variable"),
        ("PUBLIC_METRICS", "maybe", "PUBLIC_METRICS: got 'maybe', allowed true or false"),
        ("KEY_CACHE_S", "99", "KEY_CACHE_S: got '99', allowed less than or equal to 10"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(places, monkeypatch, name, value, said):
    with pytest.raises(SpecError, match=said):
        read(places, monkeypatch, **{name: value})


def test_what_an_orchestrator_adds_is_no_setting(places, monkeypatch):
    read(places, monkeypatch, PORT="tcp://10.0.0.1:80", SERVICE_HOST="10.0.0.1")


@pytest.mark.parametrize(
    ("flags", "more", "said"),
    [
        ((), {f"{PREFIX}QUOTA_STUDIES_QUEUED": "-1"}, f"error: {PREFIX}QUOTA_STUDIES_QUEUED: got '-1', allowed "),
        (("--port", "abc"), {}, "error: --port: got 'abc', allowed an integer"),
        (("--workers", "1.5"), {}, "error: --workers: got '1.5', allowed an integer"),
        (("--max-running", "x"), {}, "error: --max-running: got 'x', allowed an integer"),
        (("--only", "all"), {}, "error: --only: got 'all', allowed api or controller"),
    ],
)
def test_serve_refuses_in_one_line_with_status_two_and_makes_nothing(tmp_path, flags, more, said):
    home = tmp_path / "home"
    command = [COMMAND, "serve", "--home", str(home), *flags]
    done = subprocess.run(command, cwd=tmp_path, env=environment() | more, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if not line.startswith("warmup-bench: here")]
    assert len(errors) == 1
    assert errors[0].startswith(said)
    assert not home.exists()

"""Waits for a study to be final by asking for it now and then, which any proxy in between lets through."""

import time

import httpx

from service.client.asking import Asking
from service.client.errors import ApiError, ServerUnreachable, WaitTimeout
from service.client.models import StudyWithSpec

POLL_FIRST_S, POLL_MOST_S, POLL_GROWTH = 0.5, 5.0, 1.5


def wait_until_final(asking: Asking, path: str, *, timeout_s: float | None, reconnect_s: float) -> StudyWithSpec:
    """The study at `path` once it is final.

    Args:
        reconnect_s: so long the server may be away, or say that it is, before its error is raised.

    Raises:
        WaitTimeout: it is not final within `timeout_s`.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    pause_s, version, away_since = POLL_FIRST_S, "", 0.0
    while True:
        try:
            response = asking.send("GET", path, headers={"If-None-Match": version} if version else {})
            away_since = 0.0
            if response.status_code != httpx.codes.NOT_MODIFIED:
                version = response.headers.get("ETag", "")
                study = asking.read(response, StudyWithSpec)
                if study.state.is_final:
                    return study
        except (ServerUnreachable, ApiError) as error:
            away_since = away_since or time.monotonic()
            if not error.is_transient or time.monotonic() - away_since >= reconnect_s:
                raise
        if deadline is not None and time.monotonic() + pause_s > deadline:
            raise WaitTimeout(f"{asking.transport.server}: the study is not final after {timeout_s:g} s; it goes on")
        time.sleep(pause_s)
        pause_s = min(POLL_MOST_S, POLL_GROWTH * pause_s)

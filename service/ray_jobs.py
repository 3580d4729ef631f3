"""The Jobs API of a Ray cluster, over HTTP: submit, look, stop. Imports no Ray.

Whoever asks has other things to do: a request takes seconds at most, and after one that failed nothing is asked for a
while. What did not answer is away, which says nothing about its jobs.
"""

import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import httpx
import structlog

from schemas.errors import Problem, SpecError
from schemas.problems import shortened, show, show_place
from service.bounded_http import BoundedHttp
from service.launched import LauncherAway
from service.ray_address import ADDRESS, FLAG, MODE, TOKEN_FILE, RayAddress

log = structlog.get_logger("warmup_bench.controller")

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 15.0
"""After a request that failed, before the next one; doubled each time."""
OVER = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
REASON = "the Ray cluster"
ALLOWED = (
    f"a Ray head of this program's version, of Ray and of Python, and its token: see {FLAG} ({ADDRESS}), and {MODE} and"
    f" {TOKEN_FILE} here and on the cluster"
)
_IS_OPEN = f"asks nobody for a token, and whoever reaches it runs code there: set {MODE}=token on its nodes, too"
PYTHON_MATCHES = "RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL"
"""Ray's own variable: `minor` where 3.11.7 may meet 3.11.9; without it, Ray and we refuse that."""


class RayAway(LauncherAway):
    """The cluster does not answer, or not as a Ray cluster does."""


class RayRefused(LauncherAway):
    """The cluster will not have us until somebody changes something: another token, another version.

    Args:
        got: what was found.
    """

    def __init__(self, got: str) -> None:
        super().__init__(f"{REASON} and this service do not fit together", f"got {got}, allowed {ALLOWED}")
        self.got = got


@dataclass(frozen=True)
class Job:
    """One job as Ray knows it."""

    submission_id: str
    status: str
    """PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED."""
    exit_code: int | None
    error_type: str | None
    message: str

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status in OVER


def connect(address: RayAddress, clock: Callable[[], float], say: Callable[[str], None]) -> "RayJobs":
    """The cluster of a service that starts. One that does not answer is said, and waited for.

    Raises:
        SpecError: it answers, and will not have us.
    """
    jobs = RayJobs(address, clock)
    try:
        jobs.check()
        if address.has_token and jobs.is_open():
            say(f"{show_place(address.url)} {_IS_OPEN}")
    except RayRefused as error:
        jobs.close()
        raise SpecError([Problem(f"{FLAG} ({ADDRESS})", f"{show_place(address.url)}: {error.got}", ALLOWED)]) from error
    except RayAway as error:
        say(f"{show_place(address.url)}: {error}; studies stay queued until it answers")
    return jobs


class RayJobs:
    """One cluster. Used by one thread."""

    def __init__(
        self, address: RayAddress, clock: Callable[[], float], transport: httpx.BaseTransport | None = None
    ) -> None:
        self._address, self._clock = address, clock
        self._http = BoundedHttp(address.url, transport)
        self._away: LauncherAway | None = None
        self._not_before = clock()
        self._wait_s = FIRST_WAIT_S
        self._is_checked = False

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def check(self) -> None:
        """Ask who is there.

        Raises:
            RayRefused: it refuses our token, is no Ray, or is of another version, of Ray or of Python. RayAway: it does
                not answer.
        """
        answer = self._ask("GET", "/api/version")
        try:
            there = _mapping(answer)["ray_version"]
        except (ValueError, KeyError) as error:
            raise self._failed(RayRefused("the address of something else than a Ray cluster's dashboard")) from error
        here = version("ray")
        if there != here:
            raise self._failed(RayRefused(f"Ray {shortened(str(there))} there, Ray {here} here"))
        self._check_python(platform.python_version())
        self._is_checked = True

    def is_open(self) -> bool:
        """Whether the cluster says that it asks for no token.

        Raises:
            RayRefused, RayAway: nobody can tell.
        """
        answer = self._ask("GET", "/api/authentication_mode", accepted=(200, 404, 500))
        try:
            return _mapping(answer).get("authentication_mode") == "disabled"
        except ValueError:
            return False

    def _check_python(self, here: str) -> None:
        # The Jobs API does not tell; the dashboard's other page does, of no public interface. Where it is missing, a
        # driver says it that cannot attach.
        answer = self._ask("GET", "/api/v0/cluster_metadata", accepted=(200, 404, 500))
        try:
            there = str(_mapping(answer)["data"]["pythonVersion"])
        except (ValueError, KeyError, TypeError):
            return
        if not _same_python(there, here):
            raise self._failed(RayRefused(f"Python {shortened(there)} there, Python {here} here"))

    def submit(self, submission_id: str, entrypoint: str, resources: Mapping[str, float]) -> bool:
        """Submit a job; False: there is one of that id already.

        Raises:
            RayAway, RayRefused: it may have been submitted all the same.
        """
        body = {
            "submission_id": submission_id,
            "entrypoint": entrypoint,
            "entrypoint_num_cpus": 0,
            "entrypoint_resources": dict(resources),
        }
        answer = self._send("POST", "/api/jobs/", body, accepted=(200, 500))
        # Measured on 2.60: not 409, and the words of a traceback.
        if answer.status_code == 500 and f"{submission_id} already exists" in answer.text:
            return False
        if answer.status_code != 200:
            raise self._failed(_away(f"{REASON} cannot start a job now", _last_line(answer.text)))
        return True

    def job(self, submission_id: str) -> Job | None:
        """The job of that id; None: the cluster knows none.

        Raises:
            RayAway, RayRefused: nobody can tell.
        """
        answer = self._send("GET", f"/api/jobs/{submission_id}", accepted=(200, 404))
        if answer.status_code == 404 and "does not exist" in answer.text:
            return None
        try:
            found = _mapping(answer)
            code = found.get("driver_exit_code")
            return Job(
                submission_id,
                str(found["status"]),
                int(code) if code is not None else None,
                found.get("error_type"),
                str(found.get("message") or ""),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise self._failed(_away(f"{REASON} answers nonsense", shortened(answer.text))) from error

    def stop(self, submission_id: str) -> bool:
        """Ask for the job to be ended: SIGTERM, and SIGKILL three seconds later. False: the cluster knows none.

        Raises:
            RayAway, RayRefused: nobody can tell.
        """
        answer = self._send("POST", f"/api/jobs/{submission_id}/stop", accepted=(200, 404))
        return answer.status_code == 200

    def _send(self, method: str, path: str, body: Any = None, *, accepted: tuple[int, ...]) -> httpx.Response:
        if self._away is not None and self._clock() < self._not_before:
            raise self._away
        if not self._is_checked:
            self.check()
        answer = self._ask(method, path, body, accepted)
        if self._away is not None:
            log.info("the Ray cluster is back", address=self._address.url)
        self._away, self._wait_s = None, FIRST_WAIT_S
        return answer

    def _ask(self, method: str, path: str, body: Any = None, accepted: tuple[int, ...] = (200,)) -> httpx.Response:
        try:
            answer = self._http.ask(method, path, body, self._address.headers())
        except TimeoutError as error:
            raise self._failed(_away(f"{REASON} answers nonsense", "an answer that does not end")) from error
        except httpx.HTTPError as error:
            detail = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise self._failed(_away(f"{REASON} cannot be reached", detail)) from error
        except (OSError, ValueError) as error:
            raise self._failed(RayRefused(f"no token that can be sent ({error})")) from error
        if answer.status_code in (401, 403):
            raise self._failed(RayRefused(f"another token ({answer.status_code}: {_last_line(answer.text)})"))
        if answer.status_code not in accepted:
            detail = f"HTTP {answer.status_code}: {_last_line(answer.text)}"
            is_lasting = 300 <= answer.status_code < 500
            raise self._failed(RayRefused(detail) if is_lasting else _away(f"{REASON} cannot be used now", detail))
        return answer

    def _failed(self, why: LauncherAway) -> LauncherAway:
        """Note that it is away, said once, and that whoever is there next is to be asked who it is."""
        if self._away is None:
            log.error("the Ray cluster is away; what runs there goes on", address=self._address.url, error=str(why))
        self._away, self._is_checked = why, False
        self._not_before = self._clock() + self._wait_s
        self._wait_s = min(LONGEST_WAIT_S, 2 * self._wait_s)
        return why


def _away(reason: str, detail: str) -> RayAway:
    return RayAway(reason, f"{reason} ({detail}): check that its head runs, and {FLAG} ({ADDRESS})")


def _same_python(there: str, here: str) -> bool:
    """As Ray judges it for those that join a cluster."""
    parts = 2 if os.environ.get(PYTHON_MATCHES) == "minor" else 3
    return there.split(".")[:parts] == here.split(".")[:parts]


def _mapping(answer: httpx.Response) -> dict[str, Any]:
    found = json.loads(answer.text)
    if not isinstance(found, dict):
        raise ValueError(f"no object: {show(found)}")
    return found


def _last_line(text: str) -> str:
    """Of a traceback, what was wrong."""
    lines = [line for line in text.strip().splitlines() if line.strip(" .")]
    return shortened(lines[-1]) if lines else "no words"

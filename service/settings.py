"""What an operator may set of the service: places, limits, quotas. Read from WARMUP_BENCH_SERVE_* where not given."""

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import Problem, SpecError
from schemas.limits import Limits
from schemas.problems import did_you_mean, show
from workers.ledger.inputs import Quota
from workers.places import Places

PREFIX = "WARMUP_BENCH_SERVE_"
QUOTA_PREFIX = f"{PREFIX}QUOTA_"
NESTED = "__"
_FAMILIES = (f"{PREFIX}QUOTA", f"{PREFIX}LIMITS", f"{PREFIX}PLACES")
_NOT_FROM_ENVIRONMENT = ("places", "workers")
_TYPES = {"int_parsing": "an integer", "bool_parsing": "true or false", "float_parsing": "a number"}

Count = Annotated[int, Field(ge=0)]


def _not_negative(limits: Limits) -> Limits:
    for limit in fields(limits):
        if getattr(limits, limit.name) < 0:
            raise ValueError(f"0 or more for {limit.name}")
    return limits


class Quotas(BaseSettings):
    """What may be unfinished at a time of what came with one key."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=QUOTA_PREFIX)

    studies_queued: Count = 1_000
    """Studies that wait for their turn."""
    trials_unfinished: Count = 1_000_000
    steps_unfinished: Count = 100_000_000_000

    def as_quota(self) -> Quota:
        """In the ledger's terms, which holds it."""
        return Quota(self.studies_queued, self.trials_unfinished, self.steps_unfinished)


class Settings(BaseSettings):
    """Settings of the API process; none of them is read again after it has started."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=PREFIX, env_nested_delimiter=NESTED)

    places: Places
    """Where records, data and results lie. The ledger is given to the application opened."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Trainers of all running studies together, which a plan reckons with; None: one per core."""
    max_body_bytes: Annotated[int, Field(ge=1)] = 1_000_000
    limits: Annotated[Limits, AfterValidator(_not_negative)] = Limits()
    quotas: Quotas = Field(default_factory=Quotas)
    retry_after_s: Annotated[int, Field(ge=1)] = 30
    """What a caller whose quota is used up is told to wait."""
    key_cache_s: Annotated[float, Field(ge=0, le=10)] = 3.0
    """So long a key that was looked up is not looked up again: a revoked one may act this much longer."""
    public_metrics: bool = False
    """Whether /metrics answers without a key: for a network that only the scraper reaches."""


def read_settings(places: Places, workers: int | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings that the environment asks for.

    Raises:
        SpecError: a variable that there is not, or a value that cannot be meant, by the variable's name.
    """
    known = variables()
    # Not of every name that begins alike: Kubernetes makes some for a service that is called warmup-bench-serve.
    given = [name for name in environment if name.upper().startswith(_FAMILIES)]
    problems = [
        Problem(name, show(environment[name]), f"no variable of this name{did_you_mean(name.upper(), known)}")
        for name in given
        if name.upper() not in known
    ]
    if not problems:
        try:
            return Settings(places=places, workers=workers)
        except ValidationError as error:
            prefix = QUOTA_PREFIX if error.title == Quotas.__name__ else PREFIX
            problems = [_problem(prefix, dict(details)) for details in error.errors()]
    raise SpecError(problems)


def variables() -> list[str]:
    """The environment variables that are read."""
    plain = [name for name in Settings.model_fields if name not in (*_NOT_FROM_ENVIRONMENT, "limits", "quotas")]
    limits = [f"{PREFIX}LIMITS{NESTED}{limit.name}" for limit in fields(Limits)]
    quotas = [f"{QUOTA_PREFIX}{name}" for name in Quotas.model_fields]
    return [name.upper() for name in (*(f"{PREFIX}{name}" for name in plain), *limits, *quotas)]


def _problem(prefix: str, details: Mapping[str, Any]) -> Problem:
    said = str(details["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    name = prefix + NESTED.join(str(part) for part in details["loc"]).upper()
    return Problem(name, show(details["input"]), _TYPES.get(details["type"], said))

"""What an operator may set of the service: places, limits, quotas. Read from WARMUP_BENCH_SERVE_* where not given."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.limits import Limits
from workers.ledger.inputs import Quota
from workers.places import Places

Count = Annotated[int, Field(ge=0)]


class Quotas(BaseSettings):
    """What one owner may have unfinished at a time, counted over all keys of that owner together."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="WARMUP_BENCH_SERVE_QUOTA_")

    studies_queued: Count = 1_000
    """Studies that wait for their turn."""
    trials_unfinished: Count = 1_000_000
    steps_unfinished: Count = 100_000_000_000

    def as_quota(self) -> Quota:
        """In the ledger's terms, which holds it."""
        return Quota(self.studies_queued, self.trials_unfinished, self.steps_unfinished)


class Settings(BaseSettings):
    """Settings of the API process; none of them is read again after it has started."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="WARMUP_BENCH_SERVE_", env_nested_delimiter="__"
    )

    places: Places
    """Where records, data and results lie. The ledger is given to the application opened."""
    max_body_bytes: Annotated[int, Field(ge=1)] = 1_000_000
    limits: Limits = Limits()
    quotas: Quotas = Field(default_factory=Quotas)
    retry_after_s: Annotated[int, Field(ge=1)] = 30
    """What a caller whose quota is used up is told to wait."""
    key_cache_s: Annotated[float, Field(ge=0, le=10)] = 3.0
    """So long a key that was looked up is not looked up again: a revoked one may act this much longer."""
    public_metrics: bool = False
    """Whether /metrics answers without a key: for a network that only the scraper reaches."""

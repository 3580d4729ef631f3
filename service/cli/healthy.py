"""`warmup-bench healthy`: whether the controller of a home still goes round, for a container's health check."""

from typing import Annotated

import typer

from schemas.errors import Problem, SpecError, WarmupBenchError
from service.alive import age_s
from service.cli.options import Home, integer
from workers.places import Places


class NotHealthy(WarmupBenchError):
    """The controller has not been round for too long."""

    code = "not_healthy"


def healthy(
    home: Home = None,
    max_age_s: Annotated[
        int,
        typer.Option(
            "--max-age-s",
            parser=integer("--max-age-s"),
            metavar="INTEGER",
            help="So long ago its last round may be: longer than a ledger that is away holds one up.",
        ),
    ] = 30,
) -> None:
    """Tell whether the controller of this home goes round. Exit 0 when it has been round lately, 1 when it has not or
    there is none.
    """
    if max_age_s < 1:
        raise SpecError([Problem("--max-age-s", str(max_age_s), "1 or more")])
    age = age_s(Places.resolve(home=home, tracking_uri="none").home)
    if age > max_age_s:
        raise NotHealthy(f"the controller was last round {age:.0f} s ago, allowed {max_age_s} s")
    print(f"the controller was round {max(age, 0.0):.1f} s ago")

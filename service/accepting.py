"""Whether there is room for a study under the quota of its key: asked before anything of it is expanded."""

from dataclasses import dataclass
from typing import Any

from schemas.errors import SpecError
from schemas.own_parts import part_problems
from schemas.study import Study, parse_study
from service.requests import Request
from service.settings import Settings
from workers.ledger.ledger import Ledger
from workers.ledger.rows import Usage
from workers.ledger.submitting import check_growth
from workers.planning import expand_trials
from workers.studies import published_datasets, published_plugins


@dataclass(frozen=True)
class Growth:
    """What a study is added to."""

    before: Usage
    """What is unfinished of the key that it counts against."""
    num_studies: int = 0
    """Studies that are queued with it: none where one that is there grows."""
    num_trials_there: int = 0
    """Trials of it that a study in the ledger has already."""
    steps_there: int = 0
    """Updates that those make in full."""


NOT_LISTED = "a part that the operator of this service has installed and listed (serve --plugin GROUP:NAME)"
ALONE = Growth(Usage(0, 0, 0, 0))
"""For one that is not submitted: only what would never fit is refused."""


def parsed(ledger: Ledger, settings: Settings, document: Any) -> Study:
    """A document as a study, with the code of its own parts stated: those that the operator has installed and listed.

    Raises:
        SpecError: it is refused, or names a part that is not listed.
    """
    study = parse_study(document, settings.limits)
    if not study.has_own_parts():
        return study
    known = published_plugins(ledger)
    if problems := part_problems(study, known, NOT_LISTED):
        raise SpecError(problems)
    return study.pinned([facts.source for facts in known.values()])


def accepted(ledger: Ledger, settings: Settings, study: Study, growth: Growth = ALONE) -> Request:
    """A study with its trials, of data sets that are in the catalog.

    Whether there is room for it is asked before anything is expanded, so that a refusal costs next to nothing. What is
    submitted meanwhile is not known here: the transaction that makes the study asks again.

    Raises:
        SpecError, DataMissing. QuotaExceeded: what it adds to `growth.before` is over the quota.
    """
    datasets = published_datasets(ledger)
    num_trials, steps = study.num_trials() - growth.num_trials_there, study.num_steps(datasets) - growth.steps_there
    before = growth.before
    now = Usage(
        before.num_queued + growth.num_studies,
        before.num_running,
        before.num_trials_unfinished + num_trials,
        before.steps_unfinished + steps,
    )
    check_growth(settings.quotas.as_quota(), before, now)
    return Request(study, expand_trials(study, datasets, settings.limits), datasets)

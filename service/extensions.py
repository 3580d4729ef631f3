"""Extending a study over HTTP: for whom it is there, within the quota; the use case is the command line's too."""

from collections.abc import Callable
from typing import Any

from service.accepting import Growth, accepted, parsed
from service.security import Principal
from service.settings import Settings
from service.studies import visible_head
from workers.extending import ExtendResult, extend_study
from workers.ledger.inputs import Idempotency
from workers.ledger.ledger import Ledger


def extend(
    ledger: Ledger,
    settings: Settings,
    principal: Principal,
    study_id: str,
    document: Callable[[], Any],
    idempotency: Idempotency | None = None,
) -> ExtendResult:
    """Add to a study what a wider spec has and it lacks. It counts against the quota of the key that the study has.

    Args:
        document: gives the document; asked only once the study is known to be there.

    Raises:
        StudyNotFound, SpecError, DataMissing, WrongState, QuotaExceeded, IdempotencyConflict.
    """
    row = visible_head(ledger, principal, study_id)
    asked = None if idempotency is None else (principal.owner, idempotency)
    # Before the document is expanded: the quota may be used up by now, and the trials be there.
    if asked is not None and (before := ledger.replayed_extension(*asked)) is not None:
        return ExtendResult(before.head, before.round, before.num_new, is_replayed=True)
    study = parsed(ledger, settings, document())
    growth = Growth(ledger.usage_of_study(row.id), num_trials_there=row.total, steps_there=row.steps)
    request = accepted(ledger, settings, study, growth)
    quota = settings.quotas.as_quota()
    return extend_study(ledger, row.id, request.study, request.trials, quota=quota, asked=asked)

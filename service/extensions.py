"""Extending a study over HTTP: for whom it is there, within the quota; the use case is the command line's too."""

from collections.abc import Callable
from typing import Any

from schemas.study import parse_study
from service.security import Principal
from service.settings import Settings
from service.studies import accepted, visible_head
from workers.extending import ExtendResult, extend_study
from workers.ledger.ledger import Ledger


def extend(
    ledger: Ledger, settings: Settings, principal: Principal, study_id: str, document: Callable[[], Any]
) -> ExtendResult:
    """Add to a study what a wider spec has and it lacks.

    Args:
        document: gives the document; asked only once the study is known to be there.

    Raises:
        StudyNotFound, SpecError, DataMissing, WrongState, QuotaExceeded.
    """
    row = visible_head(ledger, principal, study_id)
    request = accepted(ledger, settings, parse_study(document(), settings.limits), num_there=row.total)
    return extend_study(ledger, row.id, request.study, request.trials, quota=settings.quotas.as_quota())

"""What may be done with studies: submit, plan, find, list, cancel; for one principal, who sees its owner's alone."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from schemas.errors import StudyNotFound
from schemas.problems import show
from schemas.study import Study
from schemas.trials import TrialState
from service.accepting import Growth, accepted, parsed
from service.codes import Code
from service.cursors import bad_cursor, seal, unseal
from service.errors import ApiProblem
from service.planning import plan_request
from service.security import Principal
from service.settings import Settings
from workers.ledger.inputs import Idempotency
from workers.ledger.ledger import Ledger
from workers.ledger.rows import StudyHead, StudyRow, TrialRow
from workers.studies import create_study

FIRST_VERSION = 1
PLAN_STUDIES = 50
"""So many of an owner's newest studies are looked through for what packs were like."""
_STUDY_ID = re.compile(r"[0-9a-f]{16}")
_TRIAL_ID = re.compile(r"[0-9a-f]{64}")

Found = TypeVar("Found")


@dataclass(frozen=True)
class StudyFilter:
    """Which studies of those that are visible."""

    state: TrialState | None = None
    name: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


def submit(
    ledger: Ledger,
    settings: Settings,
    principal: Principal,
    document: Any,
    *,
    priority: int,
    idempotency: Idempotency | None,
) -> tuple[StudyRow, bool]:
    """A new queued study as it was submitted, and whether it had been, with this idempotency key.

    Raises:
        SpecError, DataMissing, QuotaExceeded, IdempotencyConflict.
    """
    study = parsed(ledger, settings, document)
    known = ledger.replayed(principal.owner, idempotency) if idempotency is not None else None
    if known is None:
        asked = Growth(ledger.usage(principal.key_id), num_studies=1)
        known = create_study(
            ledger,
            study,
            accepted(ledger, settings, study, asked).trials,
            owner=principal.owner,
            key_id=principal.key_id,
            priority=priority,
            idempotency=idempotency,
            quota=settings.quotas.as_quota(),
        )
    return _as_submitted(ledger, known, study), known.replayed


def plan(ledger: Ledger, settings: Settings, principal: Principal, document: Any) -> dict[str, Any]:
    """What `warmup-bench plan --json` prints, for the trainers of this service and with what the principal may know of
    past studies. Writes nothing.

    Raises:
        SpecError, DataMissing, QuotaExceeded.
    """
    request = accepted(ledger, settings, parsed(ledger, settings, document))
    owner = principal.owner
    return plan_request(
        request, ledger, settings.places.home, settings.workers, owner=owner, most_studies=PLAN_STUDIES
    ).as_json()


def visible_study(ledger: Ledger, principal: Principal, study_id: str) -> StudyRow:
    """The study of that whole id.

    Raises:
        StudyNotFound: there is none, or it is somebody else's: nothing tells the two apart.
    """
    return _found(lambda: ledger.study(study_id, owner=principal.visible_owner), study_id)


def visible_head(ledger: Ledger, principal: Principal, study_id: str) -> StudyHead:
    """`visible_study` without reading its spec."""
    return _found(lambda: ledger.study_head(study_id, owner=principal.visible_owner), study_id)


def list_studies(
    ledger: Ledger, principal: Principal, wanted: StudyFilter, limit: int, cursor: str | None
) -> tuple[list[StudyHead], str | None]:
    """One page, newest first, and the cursor of the next one.

    Raises:
        ApiProblem: 400, a cursor that no page gave.
    """
    inner = None if cursor is None else unseal("studies", cursor)
    try:
        rows, following = ledger.list_studies(
            limit,
            inner,
            owner=principal.visible_owner,
            state=wanted.state,
            name=wanted.name,
            created_after=wanted.created_after,
            created_before=wanted.created_before,
        )
    except ValueError:
        raise bad_cursor(cursor or "") from None
    return rows, following and seal("studies", following)


def list_trials(
    ledger: Ledger,
    principal: Principal,
    study_id: str,
    wanted: Mapping[str, Any],
    limit: int,
    cursor: str | None,
) -> tuple[list[TrialRow], str | None]:
    """One page of a study's trials by position, and the cursor of the next one.

    Raises:
        StudyNotFound. ApiProblem: 400, a cursor that no page gave.
    """
    inner = None if cursor is None else unseal("trials", cursor)
    owner = principal.visible_owner
    try:
        rows, following = _found(lambda: ledger.trials_page(study_id, limit, inner, owner=owner, **wanted), study_id)
    except ValueError:
        raise bad_cursor(cursor or "") from None
    return rows, following and seal("trials", following)


def visible_trial(ledger: Ledger, principal: Principal, trial_id: str) -> TrialRow:
    """The newest attempt at that trial in the newest study that the principal sees and that holds it.

    Raises:
        ApiProblem: 404.
    """
    row = ledger.trial_holders(trial_id, principal.visible_owner) if _TRIAL_ID.fullmatch(trial_id) else None
    if row is None:
        raise ApiProblem(Code.TRIAL_NOT_FOUND, f"no trial {show(trial_id)}: an id is 64 hexadecimal digits")
    return row


def cancel(ledger: Ledger, principal: Principal, study_id: str, if_match: str | None) -> StudyHead:
    """The study, asked to be cancelled; a final one stays as it is.

    Raises:
        StudyNotFound. ApiProblem: 412, it is no longer of the version that the caller has read.
    """
    row = visible_head(ledger, principal, study_id)
    if if_match is not None and not matches(if_match, row.version):
        raise ApiProblem(Code.VERSION_CHANGED, f"If-Match: got {if_match[:100]!r}, the study is at {etag(row.version)}")
    ledger.request_cancel(row.id)
    return ledger.study_head(row.id)


def etag(version: int) -> str:
    """A study's version as an entity tag."""
    return f'"{version}"'


def matches(header: str, version: int) -> bool:
    """Whether an If-Match or If-None-Match header names that version. Proxies that compress mark tags as weak."""
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return bool(tags & {"*", etag(version)})


def _as_submitted(ledger: Ledger, row: StudyRow, study: Study) -> StudyRow:
    """The study as it was when it was made, which every repeated request is answered with, however far it is by now."""
    first, *later = ledger.rounds(row.id)
    steps = ledger.steps_of_round(row.id, first.round) if later else row.steps
    return replace(
        row,
        spec_hash=study.spec_hash,
        state=TrialState.QUEUED,
        reason="",
        publishing="current",
        cancel_requested=False,
        total=first.num_trials,
        counts=dict.fromkeys(row.counts, 0) | {TrialState.QUEUED.value: first.num_trials},
        steps=steps,
        steps_unfinished=steps,
        version=FIRST_VERSION,
        device_class=None,
        updated_at=row.created_at,
        finished_at=None,
    )


def _found(find: Callable[[], Found], study_id: str) -> Found:
    # A prefix would be enough for the ledger; here it would tell which ids other owners' studies begin with.
    with suppress(StudyNotFound):
        if _STUDY_ID.fullmatch(study_id):
            return find()
    raise StudyNotFound(f"no study {show(study_id)}")

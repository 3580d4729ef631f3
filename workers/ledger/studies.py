"""Studies: found, and moved from state to state."""

import re
from typing import Any, Literal

from sqlalchemy import and_, func, select, update

from schemas.errors import StudyNotFound, WrongState
from schemas.problems import show
from schemas.trials import TrialState
from workers.ledger.mapping import HEAD, SqlRow, study_head, study_row
from workers.ledger.reading import newest_reason
from workers.ledger.rows import EventKind, PackState, StudyHead, StudyRow
from workers.ledger.store import Store, StudyWrite, move, sources
from workers.ledger.tables import packs, studies, trials
from workers.ledger.trial_moves import move_trials

ID_DIGITS = 16
MAX_NAMED = 10
"""So many studies are named where one was meant and several fit."""


def study(ledger: Store, id_or_prefix: str, *, owner: str | None = None) -> StudyRow:
    """The study of that id, or of that unique beginning of an id; where `owner` is given, only of theirs.

    Raises:
        StudyNotFound: none, or several. Others' studies are not found in the same words as those that never were.
    """
    return study_row(_the_one(ledger, id_or_prefix, owner, list(studies.columns)))


def study_head_of(ledger: Store, id_or_prefix: str, *, owner: str | None = None) -> StudyHead:
    """`study` without reading its spec."""
    return study_head(_the_one(ledger, id_or_prefix, owner, HEAD))


def _the_one(ledger: Store, id_or_prefix: str, owner: str | None, columns: list[Any]) -> SqlRow:
    if not re.fullmatch(r"[0-9a-f]{1,16}", id_or_prefix):
        raise StudyNotFound(f"no study {id_or_prefix!r}: an id is 16 hexadecimal digits, or the first few of them")
    meant = studies.c.id == id_or_prefix if len(id_or_prefix) == ID_DIGITS else _begins(id_or_prefix)
    query = select(*columns).where(meant).limit(5)
    if owner is not None:
        query = query.where(studies.c.owner == owner)
    with ledger.read() as connection:
        found = connection.execute(query).all()
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(row.id for row in found)
        raise StudyNotFound(f"no one study {id_or_prefix}: several begin so ({ids})")
    raise StudyNotFound(f"no study {id_or_prefix} in this ledger")


def find_study(ledger: Store, words: str) -> StudyRow:
    """The study that a person means: by its id, its name, the beginning of an id, or NAME-SHORTID of its result folder.

    Raises:
        StudyNotFound: none, or several; the message lists those.
    """
    folder = re.fullmatch(r"(.+)-([0-9a-f]{8})", words)
    candidates = [studies.c.id == words, studies.c.name == words]
    if re.fullmatch(r"[0-9a-f]{1,15}", words):
        candidates.append(_begins(words))
    if folder is not None:
        # A folder's name has its spaces written as dashes.
        same_name = func.replace(studies.c.name, " ", "-") == folder[1]
        candidates.append(and_(_begins(folder[2]), same_name))
    newest_first = (studies.c.created_ms.desc(), studies.c.id.desc())
    with ledger.read() as connection:
        for meant in candidates:
            found = connection.execute(select(studies).where(meant).order_by(*newest_first).limit(MAX_NAMED + 1)).all()
            if len(found) == 1:
                return study_row(found[0])
            if found:
                raise StudyNotFound(_several(words, [study_row(row) for row in found]))
    raise StudyNotFound(
        f"no study {show(words)} in {ledger.place}: name an id (`warmup-bench list` shows them), the first digits of"
        " one, a study's name, or its result folder's name"
    )


def _several(words: str, found: list[StudyRow]) -> str:
    lines = [f"  {row.id}  {row.state:9}  {row.created_at:%Y-%m-%d %H:%M:%S}  {row.name}" for row in found[:MAX_NAMED]]
    more = ["  and more"] if len(found) > MAX_NAMED else []
    return "\n".join([f"several studies are {show(words)}; name one by its id:", *lines, *more])


def _begins(prefix: str) -> Any:
    # A range, not LIKE: it uses the index on every backend. "g" follows every hex digit.
    return and_(studies.c.id >= prefix, studies.c.id < prefix + "g")


def study_by_spec_hash(ledger: Store, spec_hash: str, *, owner: str | None = None) -> StudyRow | None:
    """The newest study of that resolved spec (of `owner`, where given)."""
    query = select(studies).where(studies.c.spec_hash == spec_hash)
    if owner is not None:
        query = query.where(studies.c.owner == owner)
    with ledger.read() as connection:
        row = connection.execute(query.order_by(studies.c.created_ms.desc(), studies.c.id.desc()).limit(1)).first()
        return None if row is None else study_row(row)


def set_study_state(
    ledger: Store, study_id: str, state: TrialState, *, reason: str = "", fence: int | None = None
) -> None:
    """Move the study; the state that it has already is no move. A final study has only final trials: `cancelled` and
    `errored` cancel what remains, `done` needs nothing to remain.

    Raises:
        WrongState: the move is not allowed, or trials remain.
    """
    with ledger.write_study(study_id, fence) as work:
        if TrialState(work.study.state) is not TrialState(state):
            move_study(work, TrialState(state), reason)


def move_study(work: StudyWrite, state: TrialState, reason: str) -> None:
    """`set_study_state` within a transaction."""
    move(TrialState(work.study.state), state, f"study {work.study_id}")
    if state is TrialState.DONE and (num_left := work.num_unfinished):
        raise WrongState(f"study {work.study_id} cannot be done: {num_left} trials are not final")
    if state in (TrialState.CANCELLED, TrialState.ERRORED):
        cancel_rest(work, reason or f"study {state}")
    work.change(state=state, reason=reason, finished_ms=work.now_ms if state.is_final else None)
    work.event(EventKind(f"study_{state}"), **({"reason": reason} if reason else {}))


def cancel_remaining(ledger: Store, study_id: str, fence: int, *, reason: str = "cancelled") -> int:
    """Cancel every trial that is not final and the packs they are in; returns the number of trials."""
    with ledger.write_study(study_id, fence) as work:
        return cancel_rest(work, reason)


def cancel_rest(work: StudyWrite, reason: str) -> int:
    """`cancel_remaining` within a transaction."""
    ended = {"state": PackState.CANCELLED, "reason": reason, "finished_ms": work.now_ms}
    of_study = trials.c.study_id == work.study_id
    num_trials = move_trials(work, of_study, TrialState.CANCELLED, reason=reason, finished_ms=work.now_ms)
    waiting = and_(packs.c.study_id == work.study_id, packs.c.state.in_(sources(PackState.CANCELLED)))
    work.connection.execute(update(packs).where(waiting).values(ended))
    if num_trials:
        work.event(EventKind.TRIALS_CANCELLED, num_trials=num_trials, reason=reason)
    return num_trials


def set_publishing(
    ledger: Store,
    study_id: str,
    publishing: Literal["current", "behind"],
    *,
    reason: str = "",
    fence: int | None = None,
) -> None:
    """Whether the tracker has everything that the ledger has, and why not."""
    with ledger.write_study(study_id, fence) as work:
        is_new_reason = bool(reason) and reason != newest_reason(work.connection, study_id)
        if work.study.publishing != publishing or is_new_reason:
            work.change(publishing=publishing)
            work.event(EventKind.PUBLISHING, publishing=publishing, **({"reason": reason} if reason else {}))

"""What makes a request safe to repeat: its key, held while it is carried out, and what it was answered with.

A key is written in the transaction of what it stands for, and of several requests with one key only one has the lock:
whoever comes second, from whichever process, sees either nothing of the first one or all of it.
"""

from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, insert, select

from schemas.errors import IdempotencyConflict
from workers.ledger.dialect import hold
from workers.ledger.inputs import Idempotency
from workers.ledger.mapping import HEAD, SqlRow, study_head, study_row
from workers.ledger.rows import ExtensionRow, StudyRow
from workers.ledger.store import Store
from workers.ledger.tables import idempotency as answers
from workers.ledger.tables import studies


class AnsweredBefore(Exception):
    """Another request has been faster with the same key; what it was answered with is there now."""


def replayed(ledger: Store, owner: str, idempotency: Idempotency) -> StudyRow | None:
    """The study that `owner` made before with this key; None where the key is new.

    Raises:
        IdempotencyConflict: the key came with another request then.
    """
    with ledger.read() as connection:
        row = made_before(connection, owner, idempotency)
    return None if row is None else study_row(row, replayed=True)


def replayed_extension(ledger: Store, owner: str, idempotency: Idempotency) -> ExtensionRow | None:
    """What `owner` was answered before with this key, about an extension; None where the key is new.

    Raises:
        IdempotencyConflict: the key came with another request then.
    """
    with ledger.read() as connection:
        row = made_before(connection, owner, idempotency)
    return None if row is None else _extension_row(row.answer)


def made_before(connection: Connection, owner: str, idempotency: Idempotency) -> SqlRow | None:
    """The study of a key, with the key's `answer`.

    Raises:
        IdempotencyConflict: the key came with another request then.
    """
    query = (
        select(studies, answers.c.body_sha256, answers.c.answer)
        .join(answers, answers.c.study_id == studies.c.id)
        .where(answers.c.owner == owner, answers.c.key == idempotency.key)
    )
    row = connection.execute(query).one_or_none()
    if row is not None and row.body_sha256 != idempotency.body_sha256:
        raise IdempotencyConflict(
            "idempotency key: it came with another request before (study "
            f"{row.id}); send a new key with a new request, or the same request again"
        )
    return row


def hold_key(connection: Connection, owner: str, idempotency: Idempotency) -> None:
    """Wait until no other transaction has this key; held until this one ends."""
    hold(connection, f"idempotency {owner} {idempotency.key}")


def remember(
    connection: Connection, owner: str, idempotency: Idempotency, study_id: str, answer: dict[str, Any] | None = None
) -> None:
    """Keep the key with the study that it was for."""
    row = {"owner": owner, "key": idempotency.key, "body_sha256": idempotency.body_sha256, "study_id": study_id}
    connection.execute(insert(answers), row | {"answer": answer})


def extension_answer(row: SqlRow, number: int | None, num_new: int) -> dict[str, Any]:
    """An extended study as it is now, as `remember` keeps it."""
    return {"head": {column.name: getattr(row, column.name) for column in HEAD}, "round": number, "num_new": num_new}


def _extension_row(answer: dict[str, Any]) -> ExtensionRow:
    head: Any = SimpleNamespace(**answer["head"])
    return ExtensionRow(study_head(head), answer["round"], answer["num_new"])

"""API keys: made once, known by the hash of their secret, revoked for good."""

import hashlib
import secrets
from collections.abc import Collection
from contextlib import suppress

from sqlalchemy import or_, select, update

from schemas.errors import KeyNotFound, PlaceError, Problem, SpecError
from schemas.problems import show
from workers.ledger.dialect import now_ms
from workers.ledger.listing import before_cursor, check_limit, time_cursor
from workers.ledger.mapping import SqlRow, instant, moment
from workers.ledger.rows import KeyRow
from workers.ledger.store import Store, clock_ms
from workers.ledger.tables import keys

SCOPES = ("read", "submit", "admin")
SECRET_BYTES = 32
MAX_NAME = 100
TOUCH_MS = 60_000
"""A key's last use is noted at most so often: a write for every request would make readers wait for writers."""


def create_key(ledger: Store, name: str, scopes: Collection[str], owner: str | None = None) -> tuple[KeyRow, str]:
    """A new key and its secret, which is shown now and never again. Without an `owner`, the key is its own.

    Raises:
        SpecError: a name or an owner that is empty or longer than 100 characters, no scope, or one that there is not.
    """
    _check(name, scopes, owner)
    key_id = f"k_{secrets.token_hex(6)}"
    secret = f"wb_{secrets.token_urlsafe(SECRET_BYTES)}"
    with ledger.write() as connection:
        row = {
            "id": key_id,
            "name": name,
            "owner": key_id if owner is None else owner,
            "scopes": [scope for scope in SCOPES if scope in scopes],
            "sha256": _hash(secret),
            "created_ms": clock_ms(connection),
        }
        connection.execute(keys.insert().values(row))
        return _key_row(connection.execute(select(keys).where(keys.c.id == key_id)).one()), secret


def key_by_secret(ledger: Store, secret: str) -> KeyRow | None:
    """The key of that secret; None where there is none or it was revoked.

    Found by its hash in an index: how long that takes tells nothing about a secret, and 256 random bits need no
    slow hash.
    """
    query = select(keys, now_ms().label("now")).where(keys.c.sha256 == _hash(secret))
    with ledger.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None or row.revoked_ms is not None:
        return None
    if row.last_used_ms is None or row.last_used_ms <= row.now - TOUCH_MS:
        _touch(ledger, row)
    return _key_row(row)


def list_keys(ledger: Store, limit: int = 50, cursor: str | None = None) -> tuple[list[KeyRow], str | None]:
    """One page, newest first, revoked ones included, and the cursor of the next page (None: this was the last).

    Raises:
        ValueError: a limit outside 1 to 1,000, or a cursor that no list gave.
    """
    check_limit(limit)
    query = select(keys).order_by(keys.c.created_ms.desc(), keys.c.id.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(before_cursor(keys, cursor, "k_[0-9a-f]{12}"))
    with ledger.read() as connection:
        rows = connection.execute(query).all()
    return [_key_row(row) for row in rows[:limit]], (time_cursor(rows[limit - 1]) if len(rows) > limit else None)


def revoke_key(ledger: Store, key_id: str) -> KeyRow:
    """Refuse the key from now on; revoking it again changes nothing.

    Raises:
        KeyNotFound: no key of that id.
    """
    with ledger.write() as connection:
        valid = update(keys).where(keys.c.id == key_id, keys.c.revoked_ms.is_(None))
        connection.execute(valid.values(revoked_ms=clock_ms(connection)))
        row = connection.execute(select(keys).where(keys.c.id == key_id)).one_or_none()
    if row is None:
        raise KeyNotFound(f"no key {show(key_id)} in {ledger.place}; `warmup-bench keys list` shows them")
    return _key_row(row)


def _check(name: str, scopes: Collection[str], owner: str | None) -> None:
    texts = {"name": name} if owner is None else {"name": name, "owner": owner}
    problems = [
        Problem(field, show(text), f"1 to {MAX_NAME} printable characters")
        for field, text in texts.items()
        if not (1 <= len(text) <= MAX_NAME and text.isprintable())
    ]
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        problems.append(Problem("scope", show(unknown[0]) if unknown else "none", " | ".join(SCOPES)))
    if problems:
        raise SpecError(problems)


def _touch(ledger: Store, row: SqlRow) -> None:
    # Whoever may read may do so on a full disk too, and while a large study is being written.
    with suppress(PlaceError), ledger.write(wait=False) as connection:
        is_stale = or_(keys.c.last_used_ms.is_(None), keys.c.last_used_ms == row.last_used_ms)
        connection.execute(update(keys).where(keys.c.id == row.id, is_stale).values(last_used_ms=row.now))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _key_row(row: SqlRow) -> KeyRow:
    return KeyRow(
        id=row.id,
        name=row.name,
        owner=row.owner,
        scopes=frozenset(row.scopes),
        sha256=row.sha256,
        created_at=instant(row.created_ms),
        revoked_at=moment(row.revoked_ms),
        last_used_at=moment(row.last_used_ms),
    )

"""What a ledger knows beside its studies: its records' token, what packs cost here, the parts that it accepts."""

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import insert, select

from workers.ledger.dialect import hold, upsert
from workers.ledger.mapping import instant
from workers.ledger.rows import MeasuredRow
from workers.ledger.store import Store, clock_ms
from workers.ledger.tables import facts

RECORDS_TOKEN = "records_token"
PLUGINS = "plugins"


def records_token(ledger: Store, mark: Callable[[str], None]) -> str:
    """The token of the place where every process of this ledger writes its records.

    Args:
        mark: is given the token when there was none before, and puts it there; where it fails, there still is none.
    """
    with ledger.read() as connection:
        query = select(facts.c.value).where(facts.c.name == RECORDS_TOKEN)
        known = connection.execute(query).scalar_one_or_none()
    if known is not None:
        return str(known)
    with ledger.write() as connection:
        hold(connection, RECORDS_TOKEN)  # of several that begin at once, one marks the place
        known = connection.execute(query).scalar_one_or_none()
        if known is None:
            known = secrets.token_hex(16)
            mark(known)
            connection.execute(insert(facts).values(name=RECORDS_TOKEN, value=known))
    return str(known)


def remember_calibration(ledger: Store, device_class: str, group_key: str, size: int, said: Mapping[str, Any]) -> None:
    """Keep what a kind of pack was measured to cost; a later measurement replaces it."""
    with ledger.write() as connection:
        value = json.dumps({"said": dict(said), "at_ms": clock_ms(connection)})
        row = {"name": _calibration(device_class, group_key, size), "value": value}
        connection.execute(upsert(connection.dialect, facts, ["name"], ["value"]).values(row))


def calibration(ledger: Store, device_class: str, group_key: str, size: int) -> MeasuredRow | None:
    """What was last measured of a kind of pack; None: never."""
    with ledger.read() as connection:
        query = select(facts.c.value).where(facts.c.name == _calibration(device_class, group_key, size))
        value = connection.execute(query).scalar_one_or_none()
    if value is None:
        return None
    kept = json.loads(value)
    return MeasuredRow(kept["said"], instant(kept["at_ms"]))


def plugin_manifest(ledger: Store) -> str:
    """What was put there by `set_plugin_manifest`; empty where nothing was."""
    with ledger.read() as connection:
        return str(connection.execute(select(facts.c.value).where(facts.c.name == PLUGINS)).scalar_one_or_none() or "")


def set_plugin_manifest(ledger: Store, text: str) -> None:
    """Say which installed parts studies may name, instead of what was said before."""
    with ledger.write() as connection:
        statement = upsert(connection.dialect, facts, ["name"], ["value"])
        connection.execute(statement.values(name=PLUGINS, value=text))


def _calibration(device_class: str, group_key: str, size: int) -> str:
    digest = hashlib.sha256(json.dumps([device_class, group_key, size]).encode()).hexdigest()
    return f"calibration:{digest[:48]}"

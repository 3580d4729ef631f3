"""What a ledger knows of itself: so far, the token that its records' place carries."""

import secrets
from collections.abc import Callable

from sqlalchemy import insert, select

from workers.ledger.dialect import hold
from workers.ledger.store import Store
from workers.ledger.tables import facts

RECORDS_TOKEN = "records_token"


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

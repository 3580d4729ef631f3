"""API keys: shown once, kept as a hash, refused when revoked."""

import hashlib
import re
import time

import pytest
from sqlalchemy import select, update

from schemas.errors import KeyNotFound, SpecError
from workers.ledger.dialect import BUSY_TIMEOUT_S
from workers.ledger.tables import keys


def all_text(ledger):
    with ledger.read() as connection:
        return str(connection.execute(select(keys)).all())


def test_a_key_is_found_by_its_secret_and_by_nothing_else(ledger):
    key, secret = ledger.create_key("laptop", {"submit", "read"})
    assert re.fullmatch(r"wb_[A-Za-z0-9_-]{43}", secret)
    assert re.fullmatch(r"k_[0-9a-f]{12}", key.id)
    found = ledger.key_by_secret(secret)
    assert (found.id, found.name, found.scopes, found.owner) == (key.id, "laptop", {"read", "submit"}, key.id)
    for other in ("", "wb_", secret[:-1], secret + "x", secret.upper(), key.id, key.sha256, "\udc80\x00"):
        assert ledger.key_by_secret(other) is None


def test_only_the_hash_of_a_secret_is_kept(ledger):
    key, secret = ledger.create_key("laptop", ["read"])
    assert key.sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert key.sha256 in all_text(ledger)
    assert secret not in all_text(ledger)
    assert secret[3:] not in all_text(ledger)


def test_secrets_and_ids_differ(ledger):
    made = [ledger.create_key("same name", ["read"]) for _ in range(20)]
    assert len({key.id for key, _ in made}) == len({secret for _, secret in made}) == 20


def test_keys_of_one_team_have_one_owner(ledger):
    owners = {ledger.create_key(name, ["read"], owner="team")[0].owner for name in ("one", "other")}
    assert owners == {"team"}


def test_a_revoked_key_is_refused_at_once_and_for_good(ledger):
    key, secret = ledger.create_key("laptop", ["read"])
    other, others = ledger.create_key("other", ["read"])
    revoked = ledger.revoke_key(key.id)
    assert revoked.revoked_at is not None
    assert ledger.key_by_secret(secret) is None
    assert ledger.revoke_key(key.id) == revoked
    assert ledger.key_by_secret(others).id == other.id


def test_revoking_a_key_that_does_not_exist_is_said(ledger):
    with pytest.raises(KeyNotFound, match="no key 'k_0'"):
        ledger.revoke_key("k_0")


def test_the_last_use_is_noted_at_most_once_a_minute(ledger):
    key, secret = ledger.create_key("laptop", ["read"])
    assert key.last_used_at is None
    ledger.key_by_secret(secret)
    first = ledger.key_by_secret(secret).last_used_at
    assert first is not None
    assert ledger.key_by_secret(secret).last_used_at == first
    with ledger.write() as connection:
        connection.execute(update(keys).values(last_used_ms=keys.c.last_used_ms - 59_000))
    before = ledger.list_keys()[0][0].last_used_at
    ledger.key_by_secret(secret)
    assert ledger.list_keys()[0][0].last_used_at == before
    with ledger.write() as connection:
        connection.execute(update(keys).values(last_used_ms=keys.c.last_used_ms - 2_000))
    ledger.key_by_secret(secret)
    assert ledger.list_keys()[0][0].last_used_at >= first


def test_a_key_is_known_while_somebody_else_writes(ledger):
    key, secret = ledger.create_key("laptop", ["read"])
    with ledger.write():  # SQLite's only writer
        start = time.monotonic()
        assert ledger.key_by_secret(secret).id == key.id
        assert time.monotonic() - start < BUSY_TIMEOUT_S / 3
    assert ledger.key_by_secret(secret).id == key.id
    assert ledger.list_keys()[0][0].last_used_at is not None
    ledger.create_key("and later writers wait for their turn again", ["read"])


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"scopes": []}, "scope: got none, allowed read | submit | admin"),
        ({"scopes": ["read", "root"]}, "scope: got 'root'"),
        ({"name": ""}, "name: got ''"),
        ({"name": "a\nb"}, "name: got"),
        ({"owner": "x" * 101}, "owner: got"),
    ],
)
def test_a_key_that_cannot_be_is_refused(ledger, bad, said):
    with pytest.raises(SpecError, match=re.escape(said)):
        ledger.create_key(**{"name": "laptop", "scopes": ["read"]} | bad)
    assert ledger.list_keys() == ([], None)


def test_pages_of_keys_join_without_gap_or_overlap(ledger):
    made = {ledger.create_key("laptop", ["read"])[0].id for _ in range(5)}
    first, cursor = ledger.list_keys(limit=2)
    second, cursor = ledger.list_keys(limit=2, cursor=cursor)
    third, cursor = ledger.list_keys(limit=2, cursor=cursor)
    assert cursor is None
    assert {key.id for key in first + second + third} == made
    with pytest.raises(ValueError, match="cursor"):
        ledger.list_keys(cursor="12-ab")

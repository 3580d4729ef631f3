"""The ledger's tables. Times are integer milliseconds since 1970 UTC, read from the database's own clock.

Tables here and migrations/ must agree (a test compares them): a change here is a new file in migrations/versions.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    literal_column,
    text,
)

from schemas.trials import Outcome, TrialState
from workers.ledger.codec import JsonText

REVISION = "0003"
"""The schema that this code knows: the newest file in migrations/versions."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)
ID = String(16)  # a study's random hex
HASH = String(64)  # SHA-256 hex
# SQLite numbers rows by itself only where the key's type is spelled INTEGER.
ROW_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
ZERO = text("0")
NOTHING = text("''")
# Postgres orders text by the words of a language; bytes are what a beginning of a name is a range of.
BYTEWISE = {"name": "text_pattern_ops"}
COUNTED = (*map(str, TrialState), *map(str, Outcome))
"""What a study keeps counts of: `num_<name>` for each."""


def _newest_only(more: str = "") -> dict[str, Any]:
    condition = text(f"superseded_in = 0{more}")
    return {"sqlite_where": condition, "postgresql_where": condition}


studies = Table(
    "studies",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("publishing", String(16), nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("spec", JsonText, nullable=False),
    Column("spec_hash", HASH, nullable=False, index=True),
    Column("total", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("continuations", Integer, nullable=False),
    Column("last_event_seq", BigInteger, nullable=False),
    Column("device_class", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("finished_ms", BigInteger),
    # Raised by every change of the row.
    Column("version", BigInteger, nullable=False, server_default=ZERO),
    # What its trials add up to, moved in the transaction that moves them: a million rows are not counted per question.
    *(Column(f"num_{name}", Integer, nullable=False, server_default=ZERO) for name in COUNTED),
    Column("steps", BigInteger, nullable=False, server_default=ZERO),
    Column("steps_unfinished", BigInteger, nullable=False, server_default=ZERO),
    # Of the API key that it was submitted with, whose quota it counts against; empty where there was none.
    Column("key_id", Text, nullable=False, server_default=NOTHING),
    Index(None, "key_id", "state"),
    # A page of a list is a walk along one of these, whatever is filtered by.
    Index(None, "created_ms", "id"),
    Index(None, "state", "created_ms", "id"),
    Index(None, "name", "created_ms", "id", postgresql_ops=BYTEWISE),
    Index(None, "owner", "created_ms", "id"),
    Index(None, "owner", "state", "created_ms", "id"),
    Index(None, "owner", "name", "created_ms", "id", postgresql_ops=BYTEWISE),
)

keys = Table(
    "keys",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("scopes", JsonText, nullable=False),
    Column("sha256", HASH, nullable=False, unique=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
    Column("last_used_ms", BigInteger),
    Index(None, "created_ms", "id"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("owner", Text, nullable=False),
    Column("key", String(255), nullable=False),
    Column("body_sha256", HASH, nullable=False),
    Column("study_id", ID, ForeignKey("studies.id"), nullable=False),
    # What cannot be told from the study alone (an extension): how it was answered.
    Column("answer", JsonText),
    PrimaryKeyConstraint("owner", "key"),
)

facts = Table(
    "facts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
"""What a ledger knows of itself."""

rounds = Table(
    "rounds",
    metadata,
    Column("study_id", ID, ForeignKey("studies.id"), nullable=False),
    Column("round", Integer, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("body", JsonText, nullable=False),
    Column("num_trials", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("planned_ms", BigInteger),
    PrimaryKeyConstraint("study_id", "round"),
)

packs = Table(
    "packs",
    metadata,
    Column("pack_id", String(100), primary_key=True),
    Column("study_id", ID, ForeignKey("studies.id"), nullable=False),
    Column("round", Integer, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("chunk_steps", Integer, nullable=False),
    Column("members", JsonText, nullable=False),
    Column("plan", JsonText, nullable=False),
    Column("execution_id", HASH, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    # Under which run lease it was planned, or last started.
    Column("fence", Integer, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("manifest", JsonText, nullable=False),
    Column("checkpoint", JsonText),
    Column("reason", Text, nullable=False),
    Column("log", Text, nullable=False),
    Column("started_ms", BigInteger),
    Column("finished_ms", BigInteger),
    Index(None, "study_id", "state"),
)

trials = Table(
    "trials",
    metadata,
    Column("row", ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("study_id", ID, ForeignKey("studies.id"), nullable=False),
    Column("trial_id", HASH, nullable=False),
    Column("attempt", Integer, nullable=False),
    # 0 while this attempt is the newest, else the number of the continue that replaced it.
    Column("superseded_in", Integer, nullable=False),
    Column("cell_id", HASH, nullable=False),
    Column("round", Integer, nullable=False),
    Column("num_index", Integer, nullable=False),
    Column("workload", Text, nullable=False),
    Column("optimizer", Text, nullable=False),
    Column("schedule", Text, nullable=False),
    Column("peak_lr", Double, nullable=False),
    Column("seed", JsonText, nullable=False),
    Column("swept", JsonText, nullable=False),
    Column("measurement_id", HASH, nullable=False),
    Column("execution_id", HASH),
    Column("state", String(16), nullable=False),
    Column("outcome", String(16)),
    Column("reason", Text, nullable=False),
    Column("summary", JsonText),
    Column("pack_id", String(100), ForeignKey("packs.pack_id"), index=True),
    Column("slot", Integer),
    Column("replanned", Boolean, nullable=False),
    Column("reused_from", ID),
    Column("started_ms", BigInteger),
    Column("finished_ms", BigInteger),
    Column("steps", BigInteger, nullable=False, server_default=ZERO),
    # Leads with the trial, so that it also finds the same trial in other studies (reuse).
    Index("uq_trials_attempt", "trial_id", "study_id", "attempt", unique=True),
    Index("uq_trials_position", "study_id", "num_index", unique=True, **_newest_only()),
    Index("uq_trials_newest", "study_id", "trial_id", unique=True, **_newest_only()),
    # One for each filter of a page of trials, ending with the position that pages go by.
    Index("ix_trials_state", "study_id", "state", "num_index", **_newest_only()),
    Index("ix_trials_outcome", "study_id", "outcome", "num_index", **_newest_only(" AND outcome IS NOT NULL")),
    Index("ix_trials_workload", "study_id", "workload", "num_index", **_newest_only()),
    Index("ix_trials_optimizer", "study_id", "optimizer", "num_index", **_newest_only()),
    Index("ix_trials_schedule", "study_id", "schedule", "num_index", **_newest_only()),
)
# A literal: a plan that is kept for any parameter cannot use an index that is for this one value.
NEWEST = trials.c.superseded_in == literal_column("0")
"""The attempt at a trial that counts."""

leases = Table(
    "leases",
    metadata,
    Column("study_id", ID, ForeignKey("studies.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("owner", Text, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("acquired_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False, index=True),
    PrimaryKeyConstraint("study_id", "kind"),
)

events = Table(
    "events",
    metadata,
    Column("study_id", ID, ForeignKey("studies.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("payload", JsonText, nullable=False),
    PrimaryKeyConstraint("study_id", "seq"),
)

catalog = Table(
    "catalog",
    metadata,
    Column("kind", String(200), primary_key=True),
    Column("sha256", HASH, nullable=False),
    Column("facts", JsonText, nullable=False),
    Column("published_ms", BigInteger, nullable=False),
)

pack_timings = Table(
    "pack_timings",
    metadata,
    Column("row", ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("device_class", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("steps", BigInteger, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("recorded_ms", BigInteger, nullable=False),
    Index(None, "device_class", "group_key", "row"),
)

publications = Table(
    "publications",
    metadata,
    Column("study_id", ID, ForeignKey("studies.id"), nullable=False),
    Column("key", String(200), nullable=False),
    Column("run_id", Text, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("is_final", Boolean, nullable=False),
    PrimaryKeyConstraint("study_id", "key"),
)

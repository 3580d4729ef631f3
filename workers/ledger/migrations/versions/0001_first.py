"""The first schema. No way down: an old home is copied before it is migrated."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NEWEST = sa.text("superseded_in = 0")


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "catalog",
        sa.Column("kind", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("published_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", name="pk_catalog"),
    )
    op.create_table(
        "pack_timings",
        sa.Column("row", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("device_class", sa.Text(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("recorded_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("row", name="pk_pack_timings"),
    )
    op.create_index("ix_pack_timings_device_class_group_key_row", "pack_timings", ["device_class", "group_key", "row"])
    op.create_table(
        "studies",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("publishing", sa.String(length=16), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("spec_hash", sa.String(length=64), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("continuations", sa.Integer(), nullable=False),
        sa.Column("last_event_seq", sa.BigInteger(), nullable=False),
        sa.Column("device_class", sa.Text()),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("finished_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
    )
    op.create_index("ix_studies_created_ms_id", "studies", ["created_ms", "id"])
    op.create_index("ix_studies_spec_hash", "studies", ["spec_hash"])
    op.create_table(
        "events",
        sa.Column("study_id", sa.String(length=16), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_events_study_id"),
        sa.PrimaryKeyConstraint("study_id", "seq", name="pk_events"),
    )
    op.create_table(
        "leases",
        sa.Column("study_id", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("acquired_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_leases_study_id"),
        sa.PrimaryKeyConstraint("study_id", "kind", name="pk_leases"),
    )
    op.create_table(
        "packs",
        sa.Column("pack_id", sa.String(length=100), nullable=False),
        sa.Column("study_id", sa.String(length=16), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("chunk_steps", sa.Integer(), nullable=False),
        sa.Column("members", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("checkpoint", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("log", sa.Text(), nullable=False),
        sa.Column("started_ms", sa.BigInteger()),
        sa.Column("finished_ms", sa.BigInteger()),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_packs_study_id"),
        sa.PrimaryKeyConstraint("pack_id", name="pk_packs"),
    )
    op.create_index("ix_packs_study_id_state", "packs", ["study_id", "state"])
    op.create_table(
        "publications",
        sa.Column("study_id", sa.String(length=16), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("is_final", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_publications_study_id"),
        sa.PrimaryKeyConstraint("study_id", "key", name="pk_publications"),
    )
    op.create_table(
        "rounds",
        sa.Column("study_id", sa.String(length=16), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("num_trials", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("planned_ms", sa.BigInteger()),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_rounds_study_id"),
        sa.PrimaryKeyConstraint("study_id", "round", name="pk_rounds"),
    )
    op.create_table(
        "trials",
        sa.Column("row", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("study_id", sa.String(length=16), nullable=False),
        sa.Column("trial_id", sa.String(length=64), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("superseded_in", sa.Integer(), nullable=False),
        sa.Column("cell_id", sa.String(length=64), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("num_index", sa.Integer(), nullable=False),
        sa.Column("workload", sa.Text(), nullable=False),
        sa.Column("optimizer", sa.Text(), nullable=False),
        sa.Column("schedule", sa.Text(), nullable=False),
        sa.Column("peak_lr", sa.Double(), nullable=False),
        sa.Column("seed", sa.Text(), nullable=False),
        sa.Column("swept", sa.Text(), nullable=False),
        sa.Column("measurement_id", sa.String(length=64), nullable=False),
        sa.Column("execution_id", sa.String(length=64)),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("outcome", sa.String(length=16)),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text()),
        sa.Column("pack_id", sa.String(length=100)),
        sa.Column("slot", sa.Integer()),
        sa.Column("replanned", sa.Boolean(), nullable=False),
        sa.Column("reused_from", sa.String(length=16)),
        sa.Column("started_ms", sa.BigInteger()),
        sa.Column("finished_ms", sa.BigInteger()),
        sa.ForeignKeyConstraint(["pack_id"], ["packs.pack_id"], name="fk_trials_pack_id"),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_trials_study_id"),
        sa.PrimaryKeyConstraint("row", name="pk_trials"),
    )
    op.create_index("ix_trials_counts", "trials", ["study_id", "superseded_in", "state", "outcome"])
    op.create_index("ix_trials_pack_id", "trials", ["pack_id"])
    op.create_index("uq_trials_attempt", "trials", ["trial_id", "study_id", "attempt"], unique=True)
    op.create_index(
        "uq_trials_newest",
        "trials",
        ["study_id", "trial_id"],
        unique=True,
        sqlite_where=NEWEST,
        postgresql_where=NEWEST,
    )
    op.create_index(
        "uq_trials_position",
        "trials",
        ["study_id", "num_index"],
        unique=True,
        sqlite_where=NEWEST,
        postgresql_where=NEWEST,
    )

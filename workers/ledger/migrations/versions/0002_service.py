"""What a service needs: API keys, idempotency keys, counts and a version kept with each study, indexes for filters."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ZERO = sa.text("0")
STATES = ("queued", "running", "done", "cancelled", "errored")
OUTCOMES = ("trained", "stalled", "diverged")
NEWEST = "superseded_in = 0"
BYTEWISE = {"name": "text_pattern_ops"}


def upgrade() -> None:
    _keep_with_each_study()
    _count_what_is_there()
    _index()
    op.create_table(
        "keys",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger()),
        sa.Column("last_used_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.UniqueConstraint("sha256", name="uq_keys_sha256"),
    )
    op.create_index("ix_keys_created_ms_id", "keys", ["created_ms", "id"])
    op.create_table(
        "idempotency",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("body_sha256", sa.String(length=64), nullable=False),
        sa.Column("study_id", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_idempotency_study_id"),
        sa.PrimaryKeyConstraint("owner", "key", name="pk_idempotency"),
    )


def _keep_with_each_study() -> None:
    studies = [sa.Column("version", sa.BigInteger(), nullable=False, server_default=ZERO)]
    studies += [
        sa.Column(f"num_{name}", sa.Integer(), nullable=False, server_default=ZERO) for name in STATES + OUTCOMES
    ]
    # How many steps the trials of old studies have is not known here: it depends on their data.
    studies += [
        sa.Column(name, sa.BigInteger(), nullable=False, server_default=ZERO) for name in ("steps", "steps_unfinished")
    ]
    for column in studies:
        op.add_column("studies", column)
    op.add_column("trials", sa.Column("steps", sa.BigInteger(), nullable=False, server_default=ZERO))


def _count_what_is_there() -> None:
    counted = [f"num_{name} = ({_count('state', name)})" for name in STATES]
    counted += [f"num_{name} = ({_count('outcome', name)})" for name in OUTCOMES]
    op.execute(f"UPDATE studies SET version = last_event_seq, {', '.join(counted)}")


def _count(column: str, value: str) -> str:
    return f"SELECT count(*) FROM trials WHERE study_id = studies.id AND {NEWEST} AND {column} = '{value}'"


def _index() -> None:
    op.drop_index("ix_trials_counts", "trials")
    for column in ("state", "workload", "optimizer", "schedule"):
        _index_trials(column, NEWEST)
    _index_trials("outcome", f"{NEWEST} AND outcome IS NOT NULL")
    for columns in (["state"], ["name"], ["owner"], ["owner", "state"], ["owner", "name"]):
        name = "_".join(["ix_studies", *columns, "created_ms_id"])
        ops = BYTEWISE if "name" in columns else {}
        op.create_index(name, "studies", [*columns, "created_ms", "id"], postgresql_ops=ops)
    op.create_index("ix_leases_expires_ms", "leases", ["expires_ms"])


def _index_trials(column: str, condition: str) -> None:
    where = sa.text(condition)
    columns = ["study_id", column, "num_index"]
    op.create_index(f"ix_trials_{column}", "trials", columns, sqlite_where=where, postgresql_where=where)

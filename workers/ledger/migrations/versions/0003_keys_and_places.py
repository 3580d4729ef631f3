"""Which key a study came with, what a request was answered with, and what a ledger knows of itself."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("studies", sa.Column("key_id", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.create_index("ix_studies_key_id_state", "studies", ["key_id", "state"])
    op.add_column("idempotency", sa.Column("answer", sa.Text()))
    op.create_table(
        "facts",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_facts"),
    )

"""The ledger's schema, one file per change in versions/. Run by workers.ledger.opening; no alembic.ini is needed."""

"""The language that all parts speak: specs, ids, states, table columns. Pydantic and the standard library, nothing else."""

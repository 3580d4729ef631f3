"""The language that all parts speak: specs, ids, states, table columns. Needs pydantic alone."""

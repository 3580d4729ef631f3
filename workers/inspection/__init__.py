"""Imports and builds a study's own parts, in a process that is there for nothing else. See workers.inspecting."""

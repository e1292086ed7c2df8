"""Workflow graphs: reading them, checking them before a run, hashing what they gave."""

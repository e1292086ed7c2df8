"""The version spec, schema v2: what users write in `versions/<id>.json`.

What it resolves to is recorded in the lock.
"""

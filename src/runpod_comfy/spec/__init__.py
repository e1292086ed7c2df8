"""The version spec, schema v2: what a person writes in `versions/<id>.json`.

What it means today is for the lock.
"""

"""The version spec, schema v2: what a person writes in `versions/<id>.json`."""

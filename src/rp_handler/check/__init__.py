"""The check of a version: starts the engine once and records what it reports.

When to check, and what to keep of the report, is decided by `runpod_comfy`.
"""

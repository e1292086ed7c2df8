"""Workflow graphs: what a file says, whether a version can run it, how its outputs compare.

Nothing here starts or calls an engine.
"""

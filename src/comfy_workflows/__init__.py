"""Graphs on both sides: what a workflow file says, whether a version can run it, what came out.

Nothing here starts or asks an engine.
"""

"""A realized version on disk: which one to run, and where its models are.

Nothing here starts an engine.
"""

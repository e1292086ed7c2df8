"""A realized version on disk: which one is run, and where its models are.

Nothing here starts an engine.
"""

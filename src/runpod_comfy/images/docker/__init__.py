"""The Docker engine: its connection, its streams, BuildKit's builds, pulls and containers.

What to build is decided by `images`.
"""

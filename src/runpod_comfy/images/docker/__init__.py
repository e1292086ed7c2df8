"""The Docker engine: its connection, its streams, BuildKit's builds, pulls and containers.

What is built is for `images` to know.
"""

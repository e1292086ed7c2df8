"""`realize --verify`: every byte of a home and of the cache behind it, once more.

What is missing or outdated by its key alone is found by `homes.changes`.
"""

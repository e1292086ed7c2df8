"""`realize --verify`: checks every byte of a home and of the cache behind it.

What is missing, or outdated by its key, is found by `homes.changes`.
"""

"""Trees from git repositories, and how git is run.

Nothing here knows about specs or locks.
"""

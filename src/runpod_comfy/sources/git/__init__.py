"""Trees from git repositories, and the one way to run git.

Nothing here knows specs or locks.
"""

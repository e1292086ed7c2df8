"""The Python part of a lock: which release of each distribution, and which files of it.

What the trees ask for is read in `lock.requirements`.
"""

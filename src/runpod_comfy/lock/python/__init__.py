"""The Python part of a lock: which release of each distribution, and which files of it.

Reading what the trees ask for is in `lock.requirements`.
"""

"""Model files: found, downloaded, stored by sha256, verified, and linked where a core looks for
them.

Which models a version needs is decided by its lock.
"""

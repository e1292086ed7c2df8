"""Model files: found, downloaded, kept by sha256, verified, linked to where a core looks.

Which models a version needs is for its lock to say.
"""

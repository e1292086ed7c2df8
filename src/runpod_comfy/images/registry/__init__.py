"""Images in registries: their names, pushes, and what was pushed from here.

Logins are Docker's own.
"""

"""Images in registries: names, pushes, and records of pushes from here.

Logins are Docker's own.
"""

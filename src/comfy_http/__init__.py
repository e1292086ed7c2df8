"""One HTTP client for every fetch, and no secret in what it says.

Where something comes from and what it must be is for others.
"""

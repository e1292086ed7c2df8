"""One HTTP client for every fetch, with no secrets in its messages.

Which address to fetch and what to expect there is decided by other packages.
"""

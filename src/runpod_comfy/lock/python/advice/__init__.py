"""What a user can do if the requirements have no solution, or cannot be pinned: overrides for the
spec, each tried before it is offered, dead ends of platforms, and names that may be misspelt.

Running uv, and reading what it says, belongs to `lock.python`.
"""

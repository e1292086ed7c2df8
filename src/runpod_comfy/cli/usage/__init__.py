"""How a command line is read: usage errors, and completion in a shell.

What the commands do is not here, but for `completion`.
"""

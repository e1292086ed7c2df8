"""How a command line is read: usage errors in words, and completion in a shell.

What the commands do is not here, but for `completion`.
"""

"""How a command line is read, and the words for one that cannot be read.

What the commands do is not here.
"""

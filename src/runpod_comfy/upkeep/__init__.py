"""What keeps a machine in order: clearing the cache, and telling what is missing.

What a command needs to do its work is not here.
"""

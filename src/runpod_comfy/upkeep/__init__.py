"""What keeps a machine in order: clearing the cache, and telling what is missing."""

"""`realize --verify`: every byte of a home and of the cache behind it, once more."""

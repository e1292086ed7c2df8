"""Maintenance of a machine: clearing the cache, and reporting what is missing.

What other commands need for their work is not here.
"""

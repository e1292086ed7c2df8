"""A comparison of two runs as one HTML file, for a person to look at.

Nothing here runs a workflow or decides what is equal; that is `compare`. Nothing is printed.
"""

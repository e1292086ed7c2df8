"""What the command line shows: results, progress, differences.

Nothing here decides anything.
"""

"""A version with everything it needs in one file, for machines without network access.

Installing from it is done by `homes`, with --offline.
"""

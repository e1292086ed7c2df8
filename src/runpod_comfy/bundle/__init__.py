"""A version with everything that it needs in one file, for machines without a network.

Installing it from there is for `homes`, with --offline.
"""

"""Homes: a plan carried out on this machine, verified, removed; also `init`, which has no lock.

What an image needs as well is in `layers`; running a home is for `rp_handler`.
"""

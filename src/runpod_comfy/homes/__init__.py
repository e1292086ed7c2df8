"""Homes: carrying out a plan on this machine, verifying and removing the result; also `init`, which
has no lock.

What images need too is in `layers`; running a home is up to `rp_handler`.
"""

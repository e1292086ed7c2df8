"""Brings model files from their sources to their places: resumed, in parallel ranges, verified.

`fetch` is the way in. A file with its final name is whole and has its sha256.
"""

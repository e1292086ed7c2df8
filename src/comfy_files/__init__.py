"""Files on disk for every package: atomic writes, work in parallel, sizes in words.

Nothing here knows what a file is for.
"""

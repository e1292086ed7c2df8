"""Files on disk and the plumbing of long-running work, for every package.

Atomic writes, locks between processes, hashes, work in parallel, progress. Nothing here knows what
a file is for.
"""

"""Where a job's outputs go: a module for each kind of sink, and what sinks share.

What a job's outputs are is in `job`.
"""

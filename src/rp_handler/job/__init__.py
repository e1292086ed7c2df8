"""A job, from a graph to a delivered result.

The process that runs it is in `engine`; where jobs come from is in `modes`.
"""

"""Whether two runs of a workflow made the same outputs: decoded content, measures, baselines.

Nothing here runs a workflow; results come in as documents, and nothing is printed.
"""

"""The files that a job brings along: checked, fetched, and put where its graph looks for them.

The rest of a job's input is read in `rp_handler.job`; what runs the graph is in `engine`.
"""

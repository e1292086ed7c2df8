"""What users can do with versions, as functions that print nothing.

`from runpod_comfy import create, add_node, resolve, realize, run, …` gives the main ones. The
command line is arguments in, one call here, and the result printed.
"""

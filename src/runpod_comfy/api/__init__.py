"""What users can do with versions, as functions that print nothing.

`from runpod_comfy import create, add_node, resolve, realize, run, …` imports the main ones. The
command line only parses arguments, calls one function here, and prints the result.
"""

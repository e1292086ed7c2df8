"""What a person can do with versions, as functions that print nothing.

`from runpod_comfy import create, resolve, realize, build_image, push, run` gives the main ones. The
command line is arguments in, one call here, and the result printed.
"""

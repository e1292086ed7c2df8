"""Proof that an image comes out the same: its files, compared and written in one normal form.

Nothing here builds: it is given the build.
"""

"""Proof that an image is reproducible: comparing its files, and writing them in a normal form.

Nothing here builds images: the build is a parameter.
"""

"""The image that a version is based on: the catalogue, and a base made from Debian packages.

Nothing of a version lies in a base.
"""

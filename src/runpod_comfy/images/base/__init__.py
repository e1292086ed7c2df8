"""The base image of a version: the catalogue, and a base made from Debian packages.

A base contains nothing of a version.
"""

"""The image that a version is built on: the catalogue, and a base made from Debian packages."""

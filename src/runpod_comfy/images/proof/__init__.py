"""Proof that an image comes out the same: its files, compared and written in one normal form."""

"""Where model files come from: one module for each kind of host.

How the bytes get into the store is decided elsewhere.
"""

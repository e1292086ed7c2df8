"""Nodes' install scripts in a home, and the record of what they changed."""

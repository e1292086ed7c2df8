"""The check of a version: the engine started once, and what that taught.

When a check is due, and what is kept of it, is for `runpod_comfy`.
"""

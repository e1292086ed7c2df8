"""The home of a realized version, as both sides see it: its marker file.

Making one belongs to `runpod_comfy.homes`, running one to `rp_handler`.
"""

"""What both sides know of a home and of a lock: layout, marker, digest, platforms.

Making a home belongs to `runpod_comfy.homes`, running one to `rp_handler`.
"""

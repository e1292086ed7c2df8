"""What the build side and the run side share about homes and locks: layout, marker, lock while in
use, digest, hashes of trees, platforms, the needs of nodes, the distributions of modules.

Making a home belongs to `runpod_comfy.homes`, running one to `rp_handler`.
"""

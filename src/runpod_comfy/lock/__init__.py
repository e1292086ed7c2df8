"""The lock: a spec with every byte pinned, in `lockfiles/comfy-<id>.lock.json`.

Carrying it out is up to `layers`, `homes` and `images`.
"""

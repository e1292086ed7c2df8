"""The lock: a spec with every byte pinned, in `lockfiles/comfy-<id>.lock.json`.

How it is carried out is for `layers` and what follows.
"""

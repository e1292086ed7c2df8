"""The lock: a spec with every byte pinned, in `lockfiles/comfy-<id>.lock.json`."""

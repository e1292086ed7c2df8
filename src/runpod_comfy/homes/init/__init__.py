"""`init`: a ComfyUI to develop in, cloned and with an environment, but pinned to nothing.

What makes a version of a lock is in `homes` itself.
"""

"""The commands of `runpod-comfy image`.

What they do is in `api.images` and `images`.
"""

"""The models of versions in models folders: which are asked for, and whether each is there.

What a version needs is decided in `lock`, and how a file is proven in `comfy_models`.
"""

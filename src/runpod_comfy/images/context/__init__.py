"""The context of a build: the inputs of its steps, in one tar file.

Which steps there are is decided by `images.plan`.
"""

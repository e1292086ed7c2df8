"""The context of a build: what its steps are given, in one tar file.

Which steps there are is for `images.plan`.
"""

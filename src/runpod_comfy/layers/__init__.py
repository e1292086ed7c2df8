"""The middle that homes and images share: a lock as ordered layers, and what their scripts get.

Who runs a script, and where, is for `homes` and `images`.
"""

"""What homes and images share: a lock as ordered layers, and the inputs of their scripts.

Running the scripts is up to `homes` and `images`.
"""

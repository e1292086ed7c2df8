"""Pictures that nodes have made: other formats of them, and what they say of how they were made.

Where they go is in `outputs`.
"""

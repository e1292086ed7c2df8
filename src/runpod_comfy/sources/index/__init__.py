"""Python package indexes, as configured for pip, for us and for uv.

Which release to use is decided by `lock.python`.
"""

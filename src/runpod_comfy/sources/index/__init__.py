"""Python package indexes as pip's settings name them, for us and for uv.

Which release is chosen is for `lock.python`.
"""
